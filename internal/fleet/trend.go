package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/k3s-cis/packer-plugin-k3s/internal/benchmark"
)

// Trend is what changed since an earlier look at the fleet.
type Trend struct {
	Since time.Time `json:"since"`
	// Images, Failing and Summary are the earlier look's: how many images there
	// were, how many had a control that failed or could not be judged, and its
	// Fleet.Summary.
	Images  int                      `json:"images"`
	Failing int                      `json:"failing"`
	Summary map[benchmark.Status]int `json:"summary"`
	// Worse and Better are the controls that fail on more or fewer images of a
	// kind than before, as a part of those that were judged.
	Worse  []Shift `json:"worse"`
	Better []Shift `json:"better"`
}

// Shift is a control that fails on another part of a kind's images than before.
type Shift struct {
	Kind    string `json:"kind"`
	Control string `json:"control"`
	// Before and Now count the images that fail; Of those that were judged.
	Before   int `json:"before"`
	BeforeOf int `json:"before_of"`
	Now      int `json:"now"`
	NowOf    int `json:"now_of"`
}

// Earlier reads a fleet.json. Of a field that it does not know it makes an error.
func Earlier(file string) (*Fleet, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var f Fleet
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("%s is no fleet.json: %w", file, err)
	}
	for _, i := range f.Images {
		if len(i.Verdicts) != len(f.Controls) {
			return nil, fmt.Errorf("%s is no fleet.json: the image %q has %d verdicts on %d controls", file, i.Source, len(i.Verdicts), len(f.Controls))
		}
	}
	return &f, nil
}

// share is how many of the judged images fail a control.
type share struct{ failing, judged int }

// shares are the shares of failing images by kind and control.
func (f *Fleet) shares() map[[2]string]share {
	out := map[[2]string]share{}
	for _, i := range f.Images {
		for c, control := range f.Controls {
			status := statusOf(i.Verdicts[c])
			if status == "" {
				continue
			}
			at := [2]string{i.Kind, control.Key}
			s := out[at]
			s.judged++
			if status == benchmark.Fail || status == benchmark.Error {
				s.failing++
			}
			out[at] = s
		}
	}
	return out
}

// failing counts the images with a control that failed or could not be judged.
func (f *Fleet) failing() int {
	n := 0
	for _, i := range f.Images {
		if i.failing() {
			n++
		}
	}
	return n
}

// Since notes what changed since an earlier look.
func (f *Fleet) Since(earlier *Fleet) {
	t := &Trend{
		Since: earlier.Created, Images: len(earlier.Images), Failing: earlier.failing(), Summary: earlier.Summary,
		Worse: []Shift{}, Better: []Shift{},
	}
	before, now := earlier.shares(), f.shares()
	for _, k := range f.Kinds {
		for _, c := range f.Controls {
			at := [2]string{k.Name, c.Key}
			b, n := before[at], now[at]
			if b.judged == 0 || n.judged == 0 {
				continue
			}
			s := Shift{k.Name, c.Key, b.failing, b.judged, n.failing, n.judged}
			switch more := n.failing*b.judged - b.failing*n.judged; {
			case more > 0:
				t.Worse = append(t.Worse, s)
			case more < 0:
				t.Better = append(t.Better, s)
			}
		}
	}
	f.Trend = t
}
