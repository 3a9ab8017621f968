"""What is generated in and from the Helm chart.

Values table, schema of the values, copies of files from elsewhere; and `manifests/base`.
"""
