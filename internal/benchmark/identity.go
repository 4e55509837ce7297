package benchmark

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// levelTable is the file of levels.
const levelTable = "catalogue/levels.yaml"

// FullName says what a name from Benchmarks stands for, such as
// "CIS Kubernetes Benchmark, version 2.1, as the K3s documentation applies it".
func FullName(benchmark string) string {
	return "CIS Kubernetes Benchmark, version " + strings.TrimPrefix(benchmark, "cis-") + ", as the K3s documentation applies it"
}

// Digest is the SHA-256 of the embedded catalogue, in hexadecimal: of each file,
// sorted by name, its name, its length and its bytes. Two plugins with the same
// digest judge by the same controls.
var Digest = sync.OnceValue(func() string {
	sum := sha256.New()
	for _, name := range catalogueNames() {
		data, err := catalogueFiles.ReadFile(name)
		if err != nil {
			panic(err) // embedded
		}
		fmt.Fprintf(sum, "%s %d\n", name, len(data))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))
})

// levels are the levels of CIS's profiles by benchmark and number.
var levels = sync.OnceValue(func() map[string]map[string]int {
	data, err := catalogueFiles.ReadFile(levelTable)
	var table map[string]struct {
		One []string `yaml:"level_1"`
		Two []string `yaml:"level_2"`
	}
	if err == nil {
		err = yaml.Unmarshal(data, &table)
	}
	if err != nil {
		panic(fmt.Sprintf("the embedded catalogue is broken: %v", err))
	}
	out := map[string]map[string]int{}
	for name, of := range table {
		out[name] = map[string]int{}
		for level, ids := range map[int][]string{1: of.One, 2: of.Two} {
			for _, id := range ids {
				out[name][id] = level
			}
		}
	}
	return out
})

// Level is the level of CIS's profiles, 1 or 2, that a benchmark puts a control
// in by its number; 0 where no document that may be cited says it.
func Level(benchmark, id string) int { return levels()[benchmark][id] }
