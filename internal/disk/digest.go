package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"slices"
)

// Algorithm is how a digest of an image is computed. Each binds every byte.
type Algorithm string

// The algorithms.
const (
	// SHA256 is the SHA-256 of the file, which takes as long as the file is.
	SHA256 Algorithm = "sha256"
	// FSVerity is the fs-verity digest of the file with SHA-256, blocks of 4
	// KiB and no salt. It takes as long as what the file holds: holes cost
	// nothing.
	FSVerity Algorithm = "fsverity-sha256"
)

// Digest is a digest of an image.
type Digest struct {
	Algorithm Algorithm
	// Hex is in lower case.
	Hex string
}

// String is the algorithm, a colon and the value.
func (d Digest) String() string { return string(d.Algorithm) + ":" + d.Hex }

// algorithms say what the name of a checksum file ends with, how its one line
// looks, which is what the program of that name prints, and what computes the
// value.
var algorithms = map[Algorithm]struct {
	suffix, line string
	compute      func(ctx context.Context, f *os.File, size int64) ([]byte, error)
}{
	SHA256:   {".sha256", "%s  %s\n", plainDigest},
	FSVerity: {".fsverity", "sha256:%s %s\n", verityDigest},
}

// Sum computes the digest of the file at path.
func Sum(ctx context.Context, path string, with Algorithm) (Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return Digest{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Digest{}, err
	}
	value, err := algorithms[with].compute(ctx, f, info.Size())
	return Digest{Algorithm: with, Hex: hex.EncodeToString(value)}, err
}

// ChecksumFiles are the paths of all checksum files that an image may have.
func ChecksumFiles(image string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(algorithms)) {
		out = append(out, image+algorithms[name].suffix)
	}
	return out
}

// The parameters of fs-verity that the program fsverity and the kernel take
// when none are given: SHA-256 of blocks of 4 KiB, without a salt
// (Documentation/filesystems/fsverity.rst of the kernel).
const (
	verityBlock      = 4096
	verityLogBlock   = 12
	veritySHA256     = 1
	verityDescriptor = 256
	// verityFan is how many hashes are in a block of the tree.
	verityFan = verityBlock / sha256.Size
)

// verityTree is a Merkle tree that is fed from left to right. A level holds
// the hashes of a block that is not complete yet.
type verityTree struct {
	levels [][]byte
	zeros  [][sha256.Size]byte // of a whole tree over zeros, by its height
}

// push adds a hash at a level, and to the levels above where that fills a
// block.
func (t *verityTree) push(level int, hash [sha256.Size]byte) {
	for len(t.levels) <= level {
		t.levels = append(t.levels, nil)
	}
	t.levels[level] = append(t.levels[level], hash[:]...)
	if len(t.levels[level]) == verityBlock {
		full := sha256.Sum256(t.levels[level])
		t.levels[level] = t.levels[level][:0]
		t.push(level+1, full)
	}
}

// pushZeros adds n blocks of zeros, as many at once as the tree permits.
func (t *verityTree) pushZeros(n int64) {
	for n > 0 {
		level, span := 0, int64(1)
		for (level >= len(t.levels) || len(t.levels[level]) == 0) && span*verityFan <= n {
			level, span = level+1, span*verityFan
		}
		t.push(level, t.zeroHash(level))
		n -= span
	}
}

// zeroHash is the hash of verityFan to the power of level blocks of zeros.
func (t *verityTree) zeroHash(level int) [sha256.Size]byte {
	for len(t.zeros) <= level {
		if len(t.zeros) == 0 {
			t.zeros = append(t.zeros, sha256.Sum256(zeroBlock))
			continue
		}
		below := t.zeros[len(t.zeros)-1]
		t.zeros = append(t.zeros, sha256.Sum256(bytes.Repeat(below[:], verityFan)))
	}
	return t.zeros[level]
}

// root completes the tree. That of an empty file is all zero.
func (t *verityTree) root() (root [sha256.Size]byte) {
	for level := 0; level < len(t.levels); level++ {
		hashes := t.levels[level]
		if level == len(t.levels)-1 && len(hashes) == sha256.Size {
			copy(root[:], hashes)
			return root
		}
		if len(hashes) == 0 {
			continue
		}
		block := make([]byte, verityBlock)
		copy(block, hashes)
		t.levels[level] = nil
		t.push(level+1, sha256.Sum256(block))
	}
	return root
}

// verityDigest is the fs-verity digest of a file of size bytes: it binds every
// byte, like the SHA-256 of the file, but a hole of any length costs nothing.
func verityDigest(ctx context.Context, f *os.File, size int64) ([]byte, error) {
	tree := &verityTree{}
	var done int64 // blocks
	chunk := make([]byte, chunkSize)
	for e, err := range dataIn(f, size) {
		if err != nil {
			return nil, err
		}
		start := max(e.Start/verityBlock, done)
		tree.pushZeros(start - done)
		done = start
		for end := e.Start + e.Size; done*verityBlock < end; {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			want := min(end-done*verityBlock, chunkSize)
			want = min((want+verityBlock-1)/verityBlock*verityBlock, size-done*verityBlock)
			if _, err := f.ReadAt(chunk[:want], done*verityBlock); err != nil {
				return nil, err
			}
			done += tree.pushData(chunk[:want])
		}
	}
	tree.pushZeros((size+verityBlock-1)/verityBlock - done)
	root := tree.root()

	descriptor := make([]byte, verityDescriptor)
	descriptor[0], descriptor[1], descriptor[2] = 1, veritySHA256, verityLogBlock
	binary.LittleEndian.PutUint64(descriptor[8:], uint64(size))
	copy(descriptor[16:], root[:])
	digest := sha256.Sum256(descriptor)
	return digest[:], nil
}

// pushData adds the blocks of p, the last one filled up with zeros, and
// returns how many they are.
func (t *verityTree) pushData(p []byte) (blocks int64) {
	for ; len(p) > 0; blocks++ {
		block := p[:min(verityBlock, len(p))]
		p = p[len(block):]
		if len(block) < verityBlock {
			block = append(bytes.Clone(block), zeroBlock[len(block):]...)
		}
		t.push(0, sha256.Sum256(block))
	}
	return blocks
}

// plainDigest is the SHA-256 of a file of size bytes, of which holes are not
// read.
func plainDigest(ctx context.Context, f *os.File, size int64) ([]byte, error) {
	hash := sha256.New()
	buffer := make([]byte, chunkSize)
	var done int64
	feed := func(r io.Reader, upTo int64) error {
		n, err := io.CopyBuffer(hash, reader{ctx, io.LimitReader(r, upTo-done)}, buffer)
		if done += n; err == nil && done < upTo {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	for e, err := range dataIn(f, size) {
		if err == nil {
			err = feed(zeroReader{}, e.Start)
		}
		if err == nil {
			err = feed(io.NewSectionReader(f, e.Start, e.Size), e.Start+e.Size)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := feed(zeroReader{}, size); err != nil {
		return nil, err
	}
	return hash.Sum(nil), nil
}

// zeroReader never ends.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
