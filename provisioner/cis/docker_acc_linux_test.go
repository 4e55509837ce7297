package cis_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/k3s-cis/packer-plugin-k3s/internal/k3s"
	"github.com/k3s-cis/packer-plugin-k3s/internal/testing/packertest"
)

// dockerTemplate provisions a container without a network: nothing is pulled,
// and nothing in it may call out.
const dockerTemplate = `
source "docker" "node" {
  docker_path = %q
  image       = %q
  pull        = false
  run_command = ["-d", "-i", "-t", "--network=none", "--entrypoint=/bin/sh", "--", "{{.Image}}"]
  %s
}
build {
  sources = ["source.docker.node"]
  %s
  provisioner "k3s-cis" {
    k3s_version = "v1.36.3+k3s1"
    role        = "server"
    report_dir  = "report"
    %s

    waiver {
      control = "node.hygiene.access"
      reason  = "the base has a user that becomes root, to provision with"
      owner   = "tests"
      expires = "2099-12-31"
    }
  }
}
`

// podmanScript is a docker command that is podman with storage and settings of
// the test's own, in the directory and with the storage driver filled in. runc
// runs in every kind of cgroup hierarchy; the limits are such as every process
// may set.
const podmanScript = `#!/bin/sh
CONTAINERS_CONF=%[1]s/containers.conf exec podman --root %[1]s/%[2]s --runroot %[1]s/run --tmpdir %[1]s/tmp \
	--storage-driver %[2]s --cgroup-manager cgroupfs --events-backend none --runtime runc "$@"
`

const podmanConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`

// engine is a container engine with a base image in it.
type engine struct{ docker, image string }

// newEngine finds an engine that runs containers: the docker command if there
// is a daemon behind it, else podman. The base of the example becomes an image,
// without what only machines that boot need, and with sudo for user nobody.
func newEngine(t *testing.T) engine {
	t.Helper()
	e := engine{docker: "docker", image: fmt.Sprintf("localhost/k3s-cis-acc:%d", os.Getpid())}
	if err := exec.Command("docker", "info").Run(); err != nil {
		e.docker = podman(t)
	}
	dir := t.TempDir()
	sh(t, dir, `
		zstd -dc "$1/rootfs.tar.zst" |
			tar -f - --delete ./boot ./usr/lib/modules ./usr/lib/udev/hwdb.d ./usr/share/locale >base.tar
		mkdir -p etc/sudoers.d
		echo 'nobody ALL=(ALL) NOPASSWD:ALL' >etc/sudoers.d/nobody
		tar -rf base.tar --owner root:0 --group root:0 --mode 0440 ./etc/sudoers.d/nobody
		"$2" import base.tar "$3"
		rm base.tar
	`, packertest.Base(t), e.docker, e.image)
	t.Cleanup(func() { e.run(t, "rmi", "-f", e.image) })
	return e
}

// podman makes a docker command of podman, or skips the test. It copies images
// for each container only where overlays cannot be mounted.
func podman(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs a docker command with a daemon behind it, or podman and root")
	}
	dir := t.TempDir()
	docker := filepath.Join(dir, "docker")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "containers.conf"), []byte(podmanConf), 0o600))
	var out []byte
	err := errors.New("not tried")
	for _, driver := range []string{"overlay", "vfs"} {
		if err != nil {
			require.NoError(t, os.WriteFile(docker, fmt.Appendf(nil, podmanScript, dir, driver), 0o700))
			out, err = exec.Command(docker, "info").CombinedOutput()
		}
	}
	if err != nil {
		t.Skipf("needs a docker command with a daemon behind it, or podman and runc: %s", out)
	}
	return docker
}

// run runs a docker command and returns what it prints.
func (e engine) run(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(e.docker, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Run(), errOut.String())
	return out.String()
}

// leftovers are the containers and images that are there.
func (e engine) leftovers(t *testing.T) string {
	t.Helper()
	return "containers: " + e.run(t, "ps", "-aq") + "images: " + e.run(t, "images", "-aq")
}

// template fills in dockerTemplate and returns the directory it is in.
func (e engine) template(t *testing.T, source, before, options string) string {
	t.Helper()
	return packertest.Write(t, fmt.Sprintf(dockerTemplate, e.docker, e.image, source, before, options))
}

// kernel is what the parameters of the hardening are on this machine.
func kernel(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range k3s.KernelParameters() {
		value, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(p.Name, ".", "/")))
		require.NoError(t, err)
		out[p.Name] = string(value)
	}
	return out
}

// Containers are hardened and judged through the docker builder with a real
// engine.
func TestAccDocker(t *testing.T) {
	docker := map[string]string{}
	if os.Getenv("PACKER_ACC") != "" {
		docker["github.com/hashicorp/docker"] = packertest.Tool(t, "packer-plugin-docker")
	}
	p := packertest.New(t, docker)
	e := newEngine(t)
	clean := e.leftovers(t)

	t.Run("image", func(t *testing.T) { testDockerImage(t, p, e) })
	for name, test := range map[string]struct{ options, way string }{
		"user with sudo":          {"", "one command"},
		"user with sudo password": {`execute_command = "echo secret | sudo -S sh -c '{{ .Vars }} {{ .Path }}'"`, "one file and one command"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := e.template(t, "discard = true\nexec_user = \"nobody\"", "", test.options)
			r := p.Run(t, dir, "build", ".")
			require.Zero(t, r.ExitCode, r.Output)
			assert.Contains(t, r.Output, "Changed ("+test.way+", ")
			assert.Empty(t, failed(t, dir))
			assert.Equal(t, clean, e.leftovers(t))
		})
	}
	t.Run("broken", func(t *testing.T) {
		dir := e.template(t, "commit = true", `
  provisioner "shell" {
    inline = ["echo vm.overcommit_memory=0 > /etc/sysctl.d/99-tuning.conf"]
  }`, "")
		r := p.Run(t, dir, "build", ".")
		assert.NotZero(t, r.ExitCode, r.Output)
		assert.Contains(t, failed(t, dir), "node.kernel-parameters")
		assert.Equal(t, clean, e.leftovers(t), "no image, no container")
	})
	t.Run("volume", func(t *testing.T) {
		r := p.Run(t, e.template(t, fmt.Sprintf("commit = true\nvolumes = { %q = \"/var/lib/rancher/k3s\" }", t.TempDir()), "", ""), "build", ".")
		assert.NotZero(t, r.ExitCode, r.Output)
		assert.Contains(t, r.Output, "/var/lib/rancher/k3s is mounted into the container, so that the image gets nothing of what is there")
		assert.Equal(t, clean, e.leftovers(t), "no image, no container")
	})
	t.Run("interrupted", func(t *testing.T) { testDockerInterrupted(t, p, e, clean) })
}

// testDockerImage builds an image in a container that could change the kernel's
// parameters, and judges it once more, read without a container.
func testDockerImage(t *testing.T, p *packertest.Packer, e engine) {
	parameters := kernel(t)
	// An engine that lacks rights itself cannot give all of them.
	privileged := exec.Command(e.docker, "run", "--rm", "--privileged", "--network=none", e.image, "true").Run() == nil
	t.Logf("privileged: %t", privileged)
	dir := e.template(t, fmt.Sprintf("export_path = \"image.tar\"\nprivileged = %t", privileged), "", "")
	r := p.Run(t, dir, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	t.Logf("hardened, judged and exported in %s", r.Took)
	assert.Contains(t, r.Output, "reached by docker")
	assert.Contains(t, r.Output, "Changed (one command, ")
	assert.NotContains(t, r.Output, "Set in the running kernel")
	assert.Equal(t, parameters, kernel(t), "the kernel is the build host's")
	inside := statuses(t, dir)

	image := filepath.Join(dir, "image.tar")
	for _, name := range members(t, image) {
		assert.NotContains(t, name, ".k3s-cis-", "staging directory")
		assert.NotContains(t, name, "tmp/k3s-cis", "uploaded request")
	}
	outside := packertest.Write(t, fmt.Sprintf(checkImage, image))
	r = p.Run(t, outside, "build", ".")
	require.Zero(t, r.ExitCode, r.Output)
	again := statuses(t, outside)
	// The host name that a container shows is the engine's, not the image's.
	assert.Equal(t, "manual", inside["node.hygiene.hostname"])
	delete(inside, "node.hygiene.hostname")
	delete(again, "node.hygiene.hostname")
	assert.Equal(t, inside, again)
}

// members are the names of the files in an archive.
func members(t *testing.T, archive string) []string {
	t.Helper()
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer f.Close()
	var names []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, names)
			return names
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
}

// testDockerInterrupted ends Packer while the container is at work: the K3s that
// is asked for its version takes its time.
func testDockerInterrupted(t *testing.T, p *packertest.Packer, e engine, clean string) {
	dir := e.template(t, "commit = true", `
  provisioner "shell" {
    inline = ["printf '#!/bin/sh\nsleep 600\n' > /usr/local/bin/k3s; chmod 0755 /usr/local/bin/k3s"]
  }`, "")
	log := filepath.Join(dir, "log")
	out, err := os.Create(log)
	require.NoError(t, err)
	defer out.Close()
	cmd := p.Command(t.Context(), dir, "build", ".")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	said := func() string { data, _ := os.ReadFile(log); return string(data) }
	require.Eventually(t, func() bool { return strings.Contains(said(), "Sending a request") }, time.Minute, 50*time.Millisecond)
	time.Sleep(time.Second)

	started := time.Now()
	// As a terminal does: to the whole group.
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		require.Error(t, err, said())
	case <-time.After(time.Minute):
		require.Fail(t, "packer did not stop", said())
	}
	// The K3s that hangs is given 20 seconds.
	assert.Less(t, time.Since(started), 15*time.Second)
	assert.Contains(t, said(), "Cleanly cancelled builds")
	assert.NotContains(t, said(), "Changed (", "it was interrupted too late")
	assert.Equal(t, clean, e.leftovers(t), "no image, no container")
}
