// Tells what kstatus, the library by which Flux and others judge readiness, says of Kubernetes objects.
// Reads a JSON list of objects from stdin and prints a JSON list of {"status", "message"}.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func judge() error {
	var objects []map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return err
	}
	verdicts := []verdict{}
	for _, object := range objects {
		result, err := status.Compute(&unstructured.Unstructured{Object: normal(object).(map[string]any)})
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict{string(result.Status), result.Message})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

// Unstructured objects hold whole numbers as int64, which plain JSON decoding does not give.
func normal(value any) any {
	switch found := value.(type) {
	case map[string]any:
		for key, inner := range found {
			found[key] = normal(inner)
		}
	case []any:
		for index, inner := range found {
			found[index] = normal(inner)
		}
	case float64:
		return int64(found)
	}
	return value
}

func main() {
	if err := judge(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
