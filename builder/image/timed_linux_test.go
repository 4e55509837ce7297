package image

import (
	"bytes"
	"log"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStepsAreTimed: the log tells how long each step took that this build has.
func TestStepsAreTimed(t *testing.T) {
	b := newBench(t)
	root := b.tree()
	var logged bytes.Buffer
	before := log.Writer()
	log.SetOutput(&logged)
	defer log.SetOutput(before)
	_, err := b.run(t.Context(), b.options("", map[string]any{"format": "tar", "iso_url": nil, "iso_checksum": nil, "rootfs_directory": root}), provision(leaveMark))
	require.NoError(t, err)
	for _, step := range []string{"preflight", "workspace", "tree", "communicator", "provision", "seal", "record", "image", "reread", "publish"} {
		assert.Regexp(t, `\[INFO\] k3s-image: step `+step+`: [0-9.]+m?s`, logged.String())
	}
	assert.NotContains(t, logged.String(), "step download")
}
