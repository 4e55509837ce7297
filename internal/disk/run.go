package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// maxOutput is how much of a failed tool's output an error shows, in bytes.
const maxOutput = 2000

// output is what a tool wrote.
type output struct{ stdout, stderr string }

// run runs a tool to its end. The error of one that fails shows its arguments
// and what it wrote.
func run(ctx context.Context, tool Tool, stdin string, env []string, args ...string) (output, error) {
	path, err := tool.Find()
	if err != nil {
		return output{}, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), append([]string{"LC_ALL=C"}, env...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = 5 * time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := runWithUs(cmd); err != nil {
		if ctx.Err() != nil {
			return output{}, ctx.Err()
		}
		text := strings.TrimSpace(errOut.String() + "\n" + out.String())
		if len(text) > maxOutput {
			text = "…" + text[len(text)-maxOutput:]
		}
		return output{}, fmt.Errorf("%s %s: %w: %s", tool.Name, strings.Join(args, " "), err, text)
	}
	return output{out.String(), errOut.String()}, nil
}
