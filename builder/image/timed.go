package image

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

// timed logs how long a step took, which Packer shows with PACKER_LOG=1.
type timed struct {
	multistep.Step
	name string
}

// withTimes times steps that do something. Packer's debugger calls steps by their
// types, so that it gets them as they are.
func withTimes(steps []multistep.Step, debug bool) []multistep.Step {
	if debug {
		return steps
	}
	out := make([]multistep.Step, len(steps))
	for i, s := range steps {
		kind := fmt.Sprintf("%T", s)
		name := strings.ToLower(kind[strings.LastIndex(kind, ".")+1:])
		if out[i] = s; name != "nullstep" {
			out[i] = timed{s, strings.TrimPrefix(name, "step")}
		}
	}
	return out
}

func (t timed) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	start := time.Now()
	action := t.Step.Run(ctx, state)
	log.Printf("[INFO] k3s-image: step %s: %s", t.name, time.Since(start).Round(time.Millisecond))
	return action
}
