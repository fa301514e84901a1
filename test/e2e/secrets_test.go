package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// piece is how many bytes of a secret in a row count as the secret: a log that truncates it leaks it too.
const piece = 16

// remembered are the pieces of every secret in use.
var remembered vault

type vault struct {
	mu      sync.Mutex
	secrets map[string]bool
	pieces  map[[piece]byte]string // to the kind of secret
}

func (v *vault) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.secrets)
}

// remember adds secret to the search of the logs, and returns it. An access token is identified by its signature,
// because many share what precedes it; the others by their beginning, middle and end.
func remember(kind, secret string) string {
	const prefix = 3 // rt_ and ak_ are not secret
	distinct := secret
	if dot := strings.LastIndexByte(secret, '.'); dot >= 0 {
		distinct = secret[dot+1:]
	} else if len(secret) > prefix+piece && secret[prefix-1] == '_' {
		distinct = secret[prefix:]
	}
	remembered.mu.Lock()
	defer remembered.mu.Unlock()
	if remembered.secrets == nil {
		remembered.secrets, remembered.pieces = map[string]bool{}, map[[piece]byte]string{}
	}
	if len(distinct) < piece || remembered.secrets[secret] {
		return secret
	}
	remembered.secrets[secret] = true
	for _, at := range []int{0, (len(distinct) - piece) / 2, len(distinct) - piece} {
		remembered.pieces[[piece]byte([]byte(distinct[at:at+piece]))] = kind
	}
	return secret
}

// searchLogs returns where a file of dir contains a piece of a secret, and how much it has read.
func searchLogs(dir string) (searched string, leaks []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return "", nil, err
	}
	size := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", nil, err
		}
		size += len(text)
		for i := 0; i+piece <= len(text); i++ {
			if kind, found := remembered.pieces[[piece]byte(text[i:i+piece])]; found {
				line := text[1+strings.LastIndexByte(string(text[:i]), '\n'):]
				line, _, _ = cutLine(line)
				leaks = append(leaks, fmt.Sprintf("%s in %s: %.200s…", kind, filepath.Base(path), line))
				break
			}
		}
	}
	return fmt.Sprintf("%d files of %d KiB", len(files), size>>10), leaks, nil
}

func cutLine(text []byte) (line, rest []byte, found bool) {
	before, after, found := strings.Cut(string(text), "\n")
	return []byte(before), []byte(after), found
}

func newAPIKey() string { return remember("API key", "ak_"+rand.Text()+rand.Text()) }

func newMasterKey() string {
	b := make([]byte, 32)
	rand.Read(b)
	return remember("master key", base64.StdEncoding.EncodeToString(b))
}
