package nodetest

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// Program is an EFI program with sections of these names and contents.
func Program(t testing.TB, sections ...string) string {
	t.Helper()
	const header = 0x40
	var head, body bytes.Buffer
	head.Write([]byte("MZ"))
	head.Write(make([]byte, 0x3c-2))
	write := func(v any) { require.NoError(t, binary.Write(&head, binary.LittleEndian, v)) }
	write(uint32(header))
	head.WriteString("PE\x00\x00")
	write(pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(sections) / 2)})
	start := head.Len() + len(sections)/2*binary.Size(pe.SectionHeader32{})
	for i := 0; i < len(sections); i += 2 {
		s := pe.SectionHeader32{SizeOfRawData: uint32(len(sections[i+1])), PointerToRawData: uint32(start + body.Len())}
		copy(s.Name[:], sections[i])
		write(s)
		body.WriteString(sections[i+1])
	}
	return head.String() + body.String()
}
