package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJSON(t *testing.T) {
	data, err := renderJSON(newView(fixture()))
	require.NoError(t, err)
	golden(t, "report.json", data)
	back, err := LoadReport(data)
	require.NoError(t, err, "what is written passes the schema")
	assert.Equal(t, fixture(), back)
}
