package boot

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"

	"go.yaml.in/yaml/v3"
)

// UserDataPart is one text of what cloud-init is given.
type UserDataPart struct {
	Text string
	// Line is where it begins in the file; 1 where it is packed there.
	Line int
	// Script and CloudConfig say what cloud-init takes it for; a part of another
	// kind has neither.
	Script, CloudConfig bool
}

const (
	// maxUserData is how much of user data is unpacked, in bytes; cloud-init's
	// sources take no more than 64 KiB of it.
	maxUserData = 1 << 20
	// maxParts is how many parts of user data are read.
	maxParts = 100
	// maxNested is how deep parts hold further ones.
	maxNested = 4
)

// UserData takes user data apart as cloud-init does (cloudinit/user_data.py): what
// is compressed, of several parts, or an archive of cloud-init's own. What is to
// be fetched from elsewhere is not known here.
func UserData(data []byte) []UserDataPart {
	r := userDataReader{whole: data, left: maxUserData}
	r.read(data, "", 0)
	return r.parts
}

type userDataReader struct {
	whole []byte
	// left is how many bytes may still be unpacked.
	left  int64
	parts []UserDataPart
}

func (r *userDataReader) read(data []byte, kind string, depth int) {
	if depth > maxNested || len(r.parts) == maxParts {
		return
	}
	if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
		unpacked := r.all(z)
		r.read(unpacked, kind, depth+1)
		return
	}
	text := string(data)
	if r.multipart(text, depth) {
		return
	}
	begins := strings.TrimPrefix(text, "\ufeff")
	if strings.HasPrefix(strings.ToLower(begins), "## template:") {
		_, begins, _ = strings.Cut(begins, "\n")
	}
	if strings.HasPrefix(begins, "#cloud-config-archive") {
		r.archive(text, depth)
		return
	}
	p := UserDataPart{Text: text, Line: 1}
	if i := bytes.Index(r.whole, data); i > 0 {
		p.Line += bytes.Count(r.whole[:i], []byte("\n"))
	}
	p.Script = strings.HasPrefix(begins, "#!") || strings.HasPrefix(begins, "#cloud-boothook") || kind == "text/x-shellscript" || kind == "text/cloud-boothook"
	p.CloudConfig = !p.Script && (strings.HasPrefix(begins, "#cloud-config") || kind == "text/cloud-config" || kind == "text/cloud-config-jsonp")
	r.parts = append(r.parts, p)
}

// all reads what is left to be unpacked of from, as far as that can be read.
func (r *userDataReader) all(from io.Reader) []byte {
	data, _ := io.ReadAll(io.LimitReader(from, r.left))
	r.left -= int64(len(data))
	return data
}

// multipart reads a message of several parts, and says whether text is one.
func (r *userDataReader) multipart(text string, depth int) bool {
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		return false
	}
	kind, values, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") {
		return false
	}
	parts := multipart.NewReader(m.Body, values["boundary"])
	for {
		p, err := parts.NextRawPart()
		if err != nil {
			return true
		}
		body := r.all(p)
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
			if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(body)), "")); err == nil {
				body = decoded
			}
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type")) // of none nothing is known but its text
		r.read(body, kind, depth+1)
	}
}

// archive reads cloud-init's own form of several parts.
func (r *userDataReader) archive(text string, depth int) {
	var items []yaml.Node
	if yaml.Unmarshal([]byte(text), &items) != nil {
		return
	}
	for _, item := range items {
		part := struct {
			Type    string `yaml:"type"`
			Content string `yaml:"content"`
		}{Content: item.Value}
		if item.Kind == yaml.MappingNode && item.Decode(&part) != nil {
			continue
		}
		r.read([]byte(part.Content), part.Type, depth+1)
	}
}
