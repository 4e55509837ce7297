package service

import (
	"sort"
	"strings"
	"unicode/utf8"
)

const (
	// Blank is what systemd strips around keys and values: nothing else
	// that is white space to Unicode.
	Blank = " \t\n\r"
	// MaxLine is the length in bytes from which systemd refuses a line,
	// and with it the rest of the file.
	MaxLine = 1 << 20
)

// CutLine cuts the first line from s as systemd reads lines: a line feed, a
// carriage return and a zero byte each end one, or two or three of them
// together of which none comes twice and nothing follows the zero byte.
func CutLine(s string) (line, rest string) {
	end := strings.IndexAny(s, "\n\r\x00")
	if end < 0 {
		return s, ""
	}
	next := end
	for next < len(s) && strings.IndexByte("\n\r\x00", s[next]) >= 0 && strings.IndexByte(s[end:next], s[next]) < 0 &&
		(next == end || s[next-1] != 0) {
		next++
	}
	return s[:end], s[next:]
}

// logicalLine is a line of a unit file after joining continuations.
type logicalLine struct {
	text   string
	starts []lineStart
}

// lineStart says that the text from offset on stands in line number line.
type lineStart struct{ offset, line int }

// at returns a function from an offset behind base to the line it stands in.
func (l logicalLine) at(base int) func(int) int {
	return func(offset int) int {
		i := sort.Search(len(l.starts), func(i int) bool { return l.starts[i].offset > base+offset })
		return l.starts[max(i-1, 0)].line
	}
}

// logicalLines joins continued lines the way systemd does: a backslash at the
// very end becomes a blank, comment lines between are left out, and so are
// comments elsewhere. tooLong is the number of a line at which systemd gives up.
func logicalLines(text string) (out []logicalLine, tooLong int) {
	var joined strings.Builder
	var starts []lineStart
	number, marked := 1, false
	for text != "" {
		line, rest := CutLine(text)
		at := number
		number += strings.Count(text[:len(text)-len(rest)], "\n")
		text = rest
		if len(line) >= MaxLine {
			return out, at
		}
		if trimmed := strings.TrimLeft(line, Blank); trimmed != "" && (trimmed[0] == '#' || trimmed[0] == ';') {
			continue
		}
		if !marked { // one byte order mark counts, wherever it stands
			line, marked = strings.CutPrefix(line, "\ufeff")
		}
		if line == "" && len(starts) == 0 {
			continue
		}
		if joined.Len()+len(line) > MaxLine {
			return out, at
		}
		starts = append(starts, lineStart{joined.Len(), at})
		if backslashes := len(line) - len(strings.TrimRight(line, `\`)); backslashes%2 == 1 {
			joined.WriteString(line[:len(line)-1] + " ")
			continue
		}
		joined.WriteString(line)
		out = append(out, logicalLine{joined.String(), starts})
		joined, starts = strings.Builder{}, nil
	}
	if len(starts) > 0 {
		out = append(out, logicalLine{joined.String(), starts})
	}
	return out, 0
}

// validText says whether systemd takes s for UTF-8: it does not where a code
// point is one that Unicode sets aside.
func validText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, noncharacter) < 0
}

func noncharacter(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe }
