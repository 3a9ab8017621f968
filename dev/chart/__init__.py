"""The generated parts of the Helm chart: values table, schema of the values, and copies of files from elsewhere."""
