package sysctl

import (
	"bytes"
	"debug/pe"
	"fmt"
	"strings"
)

// commandLineSection is where a unified kernel image has its command line, one
// for each of its profiles (UAPI group specification UKI).
const commandLineSection = ".cmdline"

// unifiedKernel reads a unified kernel image, or an addon to one.
func unifiedKernel(_ bootSource, _ []string, file string, data []byte) ([]commandLine, error) {
	sections, err := commandLineSections(data)
	if err != nil {
		return nil, err
	}
	return unifiedLines(file, sections), nil
}

// commandLineSections are the command lines in a program, each with what fills
// its section up.
func commandLineSections(data []byte) ([][]byte, error) {
	image, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("is no EFI program: %w", err)
	}
	var out [][]byte
	for _, section := range image.Sections {
		if section.Name != commandLineSection {
			continue
		}
		content, err := section.Data()
		if err != nil {
			return nil, fmt.Errorf("its command line cannot be read: %w", err)
		}
		out = append(out, content)
	}
	return out, nil
}

// unifiedLines are the command lines of a program that has these sections.
func unifiedLines(file string, sections [][]byte) []commandLine {
	// An addon says more, of the images that it is for.
	addon := hasSuffixFold(file, ".addon.efi")
	var out []commandLine
	for _, content := range sections {
		text, _, _ := strings.Cut(string(content), "\x00")
		out = append(out, commandLine{input: addon, path: file, line: 1, words: strings.Fields(strings.NewReplacer(`"`, " ").Replace(text))})
	}
	if out == nil && !addon {
		out = append(out, commandLine{path: file, line: 1}) // it has none, or what a person types
	}
	return out
}
