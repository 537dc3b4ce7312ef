// Command pod-security judges Kubernetes objects by the upstream pod security standards.
//
// It reads YAML or JSON documents from standard input and prints one line for each object that has pods and breaks the
// standard: "Deployment/name: check: detail". It exits 0 if there is none, 1 if there are, 2 if the input cannot be read.
//
// Usage: pod-security [baseline|restricted] [v1.35] < objects.yaml   (default: restricted, latest)
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/admission"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func main() {
	violations, err := run(os.Args[1:], os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pod-security:", err)
		os.Exit(2)
	}
	if violations > 0 {
		os.Exit(1)
	}
}

func run(arguments []string, in io.Reader, out io.Writer) (int, error) {
	standard := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	var err error
	if len(arguments) > 0 {
		if standard.Level, err = api.ParseLevel(arguments[0]); err != nil {
			return 0, err
		}
	}
	if len(arguments) > 1 {
		if standard.Version, err = api.ParseVersion(arguments[1]); err != nil {
			return 0, err
		}
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return 0, err
	}
	violations := 0
	documents := yaml.NewYAMLReader(bufio.NewReader(in))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return violations, nil
		}
		if err != nil {
			return violations, err
		}
		count, err := judge(evaluator, standard, document, out)
		if err != nil {
			return violations, err
		}
		violations += count
	}
}

func judge(evaluator policy.Evaluator, standard api.LevelVersion, document []byte, out io.Writer) (int, error) {
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
	if runtime.IsNotRegisteredError(err) || runtime.IsMissingKind(err) {
		return 0, nil // somebody's own kind, or nothing but comments: no pods that we could know of
	}
	if err != nil {
		return 0, err
	}
	metadata, spec, err := admission.DefaultPodSpecExtractor{}.ExtractPodSpec(object)
	if err != nil || spec == nil {
		return 0, nil // a kind without pods
	}
	name, _ := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	violations := 0
	for _, result := range evaluator.EvaluatePod(standard, metadata, spec) {
		if !result.Allowed {
			violations++
			fmt.Fprintf(out, "%s/%v: %s: %s\n", kind.Kind, nameOf(name), result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
	return violations, nil
}

func nameOf(object map[string]any) any {
	if metadata, ok := object["metadata"].(map[string]any); ok && metadata["name"] != nil {
		return metadata["name"]
	}
	return "(no name)"
}
