package image

import (
	"context"
	"errors"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
)

func (s *stepTree) mountDisk(ctx context.Context, state multistep.StateBag) error {
	return errors.New("disk bases: coming")
}
