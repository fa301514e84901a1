package documents

import (
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
)

// The types below are the part of the API of Kubernetes that the sample uses, with its names and kinds of values
// (https://kubernetes.io/docs/reference/kubernetes-api/, apps/v1, batch/v1 and v1). A manifest with any other name is
// refused, as `kubectl apply --validate=strict` would refuse it.
//
// The module k8s.io/api lost: it brings a dozen modules and a minute of compiling, and decodes a misspelt value as well
// as these do. A name that the sample needs besides is one line here, to be taken from the reference.
type (
	metadata struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	}
	header struct {
		APIVersion string   `yaml:"apiVersion"`
		Kind       string   `yaml:"kind"`
		Metadata   metadata `yaml:"metadata"`
	}
	secret struct {
		header     `yaml:",inline"`
		StringData map[string]string `yaml:"stringData"`
	}
	configMap struct {
		header `yaml:",inline"`
		Data   map[string]string `yaml:"data"`
	}
	service struct {
		header `yaml:",inline"`
		Spec   struct {
			Selector map[string]string `yaml:"selector"`
			Ports    []struct {
				Name       string `yaml:"name"`
				Port       int    `yaml:"port"`
				TargetPort string `yaml:"targetPort"`
			} `yaml:"ports"`
		} `yaml:"spec"`
	}
	job struct {
		header `yaml:",inline"`
		Spec   struct {
			BackoffLimit int         `yaml:"backoffLimit"`
			Template     podTemplate `yaml:"template"`
		} `yaml:"spec"`
	}
	deployment struct {
		header `yaml:",inline"`
		Spec   struct {
			Replicas int `yaml:"replicas"`
			Selector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			} `yaml:"selector"`
			Strategy struct {
				RollingUpdate struct {
					MaxUnavailable int `yaml:"maxUnavailable"`
					MaxSurge       int `yaml:"maxSurge"`
				} `yaml:"rollingUpdate"`
			} `yaml:"strategy"`
			Template podTemplate `yaml:"template"`
		} `yaml:"spec"`
	}
	podTemplate struct {
		Metadata metadata `yaml:"metadata"`
		Spec     pod      `yaml:"spec"`
	}
	pod struct {
		TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
		RestartPolicy                 string `yaml:"restartPolicy"`
		AutomountServiceAccountToken  *bool  `yaml:"automountServiceAccountToken"`
		SecurityContext               struct {
			RunAsNonRoot   bool `yaml:"runAsNonRoot"`
			FSGroup        int  `yaml:"fsGroup"`
			SeccompProfile struct {
				Type string `yaml:"type"`
			} `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []container `yaml:"containers"`
		Volumes    []volume    `yaml:"volumes"`
	}
	container struct {
		Name  string   `yaml:"name"`
		Image string   `yaml:"image"`
		Args  []string `yaml:"args"`
		Env   []struct {
			Name  string `yaml:"name"`
			Value string `yaml:"value"`
		} `yaml:"env"`
		Ports []struct {
			Name          string `yaml:"name"`
			ContainerPort int    `yaml:"containerPort"`
		} `yaml:"ports"`
		ReadinessProbe  *probe `yaml:"readinessProbe"`
		LivenessProbe   *probe `yaml:"livenessProbe"`
		SecurityContext struct {
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			Capabilities             struct {
				Drop []string `yaml:"drop"`
			} `yaml:"capabilities"`
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string `yaml:"name"`
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	probe struct {
		HTTPGet struct {
			Path string `yaml:"path"`
			Port string `yaml:"port"`
		} `yaml:"httpGet"`
		PeriodSeconds int `yaml:"periodSeconds"`
	}
	volume struct {
		Name   string `yaml:"name"`
		Secret *struct {
			SecretName  string `yaml:"secretName"`
			DefaultMode int    `yaml:"defaultMode"`
			Items       []struct {
				Key  string `yaml:"key"`
				Path string `yaml:"path"`
			} `yaml:"items"`
		} `yaml:"secret"`
		ConfigMap *struct {
			Name string `yaml:"name"`
		} `yaml:"configMap"`
	}
)

// manifests are those of the document, by kind.
type manifests struct {
	secret     secret
	configMap  configMap
	service    service
	jobs       []job
	deployment deployment
}

// strictly decodes a manifest, and refuses names that its type does not have.
func strictly(text string, into any) error {
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	return d.Decode(into)
}

func readManifests(t *testing.T) (m manifests) {
	t.Helper()
	for _, text := range blocksOf(t, "Run it on Kubernetes", "yaml", 6) {
		var h header
		if err := yaml.Unmarshal([]byte(text), &h); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		var into any
		switch h.APIVersion + " " + h.Kind {
		case "v1 Secret":
			into = &m.secret
		case "v1 ConfigMap":
			into = &m.configMap
		case "v1 Service":
			into = &m.service
		case "apps/v1 Deployment":
			into = &m.deployment
		case "batch/v1 Job":
			m.jobs = append(m.jobs, job{})
			into = &m.jobs[len(m.jobs)-1]
		default:
			t.Fatalf("%s %s is not known here", h.APIVersion, h.Kind)
		}
		if err := strictly(text, into); err != nil {
			t.Errorf("%s %s: %v", h.Kind, h.Metadata.Name, err)
		}
		if h.Metadata.Name == "" {
			t.Errorf("a %s has no name", h.Kind)
		}
	}
	// Its keys are for the reader to make. A valid key in a sample would be in use somewhere.
	for name, made := range map[string]string{"master-key": masterKey, "backend-key": backendKey} {
		if m.secret.StringData[name] != "REPLACE" {
			t.Errorf("the Secret has a %s to copy", name)
		}
		m.secret.StringData[name] = made
	}
	return m
}

func TestAMisspeltNameInAManifestIsFound(t *testing.T) {
	if err := strictly("kind: Service\nspec: {selectors: {app: refreshd}}\n", new(service)); err == nil {
		t.Error("spec.selectors was accepted")
	}
}

// filesOf are the directories of c with what is in them, as files of this machine.
func (m manifests) filesOf(t *testing.T, p pod, c container) (dirs map[string]string) {
	t.Helper()
	dirs = map[string]string{}
	var mounted []string
	for _, mount := range c.VolumeMounts {
		mounted = append(mounted, mount.Name)
		i := slices.IndexFunc(p.Volumes, func(v volume) bool { return v.Name == mount.Name })
		if i < 0 || !mount.ReadOnly {
			t.Fatalf("%s: %s is no volume, or not read-only", c.Name, mount.Name)
		}
		files := map[string]string{}
		switch v := p.Volumes[i]; {
		case v.Secret != nil:
			if v.Secret.SecretName != m.secret.Metadata.Name || v.Secret.DefaultMode&0o007 != 0 {
				t.Errorf("%s: got Secret %q with mode %o, want %q, not readable by others",
					c.Name, v.Secret.SecretName, v.Secret.DefaultMode, m.secret.Metadata.Name)
			}
			for _, item := range v.Secret.Items {
				text, ok := m.secret.StringData[item.Key]
				if !ok {
					t.Errorf("%s: the Secret has no %s", c.Name, item.Key)
				}
				files[item.Path] = text
			}
		case v.ConfigMap != nil && v.ConfigMap.Name == m.configMap.Metadata.Name:
			files = m.configMap.Data
		default:
			t.Errorf("%s: volume %s has no source", c.Name, v.Name)
		}
		dirs[mount.MountPath] = writeFiles(t, files)
	}
	for _, v := range p.Volumes {
		if !slices.Contains(mounted, v.Name) {
			t.Errorf("%s: volume %s is not mounted", c.Name, v.Name)
		}
	}
	return dirs
}

// here is a text of the container with paths of this machine.
func here(dirs map[string]string, text string) string {
	for mount, dir := range dirs {
		text = strings.ReplaceAll(text, mount+"/", dir+"/")
	}
	return text
}

// configured is the configuration of the container.
func configured(t *testing.T, c container, dirs map[string]string) config.Config {
	t.Helper()
	secrets := map[string]bool{}
	for _, k := range config.Keys() {
		if name, ok := strings.CutSuffix(k.Env, "_FILE"); ok {
			secrets[name] = true
		}
	}
	values := map[string]string{}
	for _, e := range c.Env {
		if secrets[e.Name] {
			t.Errorf("%s: the secret %s is in the environment", c.Name, e.Name)
		}
		values[e.Name] = here(dirs, e.Value)
	}
	got, err := load(environment(values))
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if got.Database.Scheme != "postgres" {
		t.Errorf("%s: the database is %s", c.Name, got.Database.Redacted)
	}
	return got
}

// confined fails the test unless the pod can do no more than it needs.
func confined(t *testing.T, p pod) container {
	t.Helper()
	if len(p.Containers) != 1 {
		t.Fatalf("got %d containers, want one", len(p.Containers))
	}
	c, off := p.Containers[0], func(b *bool) bool { return b != nil && !*b }
	if !p.SecurityContext.RunAsNonRoot || p.SecurityContext.SeccompProfile.Type != "RuntimeDefault" ||
		!off(p.AutomountServiceAccountToken) {
		t.Errorf("%s: the pod is not confined: %+v", c.Name, p.SecurityContext)
	}
	if s := c.SecurityContext; !s.ReadOnlyRootFilesystem || !off(s.AllowPrivilegeEscalation) ||
		!slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("%s: the container is not confined: %+v", c.Name, s)
	}
	if p.SecurityContext.FSGroup == 0 {
		t.Errorf("%s: a user who is not root cannot read the Secret without fsGroup", c.Name)
	}
	takesArguments(t, c.Args[0])
	return c
}

// A reader who applies the manifests gets a service that starts, is probed, and is reached.
func TestTheDeploymentOfTheDocumentStartsAndIsReached(t *testing.T) {
	m := readManifests(t)
	spec := m.deployment.Spec
	p := spec.Template.Spec
	c := confined(t, p)
	got := configured(t, c, m.filesOf(t, p, c))
	if !slices.Equal(c.Args, []string{"serve"}) || got.PublicURL == "" || got.MasterKey.IsZero() {
		t.Errorf("%q is configured as %+v", c.Args, got)
	}
	if stop := got.ShutdownDelay + got.ShutdownTimeout; got.ShutdownDelay == 0 ||
		time.Duration(p.TerminationGracePeriodSeconds)*time.Second <= stop {
		t.Errorf("it is killed after %d s, and takes %s to stop", p.TerminationGracePeriodSeconds, stop)
	}
	ports := map[string]string{}
	for _, port := range c.Ports {
		ports[port.Name] = strconv.Itoa(port.ContainerPort)
	}
	for name, listen := range map[string]string{"api": got.Listen, "admin": got.AdminListen} {
		if host, port, _ := net.SplitHostPort(listen); host != "0.0.0.0" || port != ports[name] {
			t.Errorf("port %s is %s; the process listens at %s", name, ports[name], listen)
		}
	}
	probed := map[string]string{}
	for _, p := range []*probe{c.ReadinessProbe, c.LivenessProbe} {
		probed[p.HTTPGet.Path] = p.HTTPGet.Port
	}
	for path, port := range probed {
		if port != "admin" {
			t.Errorf("%s is probed at port %s", path, port)
		}
	}
	servesAtTheAdminListener(t, c.ReadinessProbe.HTTPGet.Path, c.LivenessProbe.HTTPGet.Path)

	labels := spec.Template.Metadata.Labels
	for what, selector := range map[string]map[string]string{
		"the Deployment": spec.Selector.MatchLabels, "the Service": m.service.Spec.Selector,
	} {
		for name, value := range selector {
			if labels[name] != value {
				t.Errorf("%s selects %s=%s; the pods have %s", what, name, value, labels[name])
			}
		}
		if len(selector) == 0 {
			t.Errorf("%s selects nothing", what)
		}
	}
	for _, port := range m.service.Spec.Ports {
		if port.TargetPort != "api" || port.Port == 0 {
			t.Errorf("the Service leads to %s by %d, want api", port.TargetPort, port.Port)
		}
	}
}

// The Jobs do their work with what they are given, and with the keys of the service.
func TestTheJobsOfTheDocumentRun(t *testing.T) {
	m := readManifests(t)
	commands := map[string]bool{}
	for _, j := range m.jobs {
		p := j.Spec.Template.Spec
		c := confined(t, p)
		dirs := m.filesOf(t, p, c)
		got := configured(t, c, dirs)
		if !slices.Contains([]string{"Never", "OnFailure"}, p.RestartPolicy) {
			t.Errorf("%s: restartPolicy of a Job cannot be %q", c.Name, p.RestartPolicy)
		}
		if commands[c.Args[0]] = true; c.Args[0] != "apply" {
			continue
		}
		if len(c.Args) != 3 || c.Args[1] != "-f" || got.MasterKey.IsZero() {
			t.Fatalf("%s: %q is configured as %+v", c.Name, c.Args, got)
		}
		mount, name := path.Split(c.Args[2])
		text, ok := m.configMap.Data[name]
		if _, mounted := dirs[path.Clean(mount)]; !ok || !mounted {
			t.Fatalf("%s: %s is not in the ConfigMap", c.Name, c.Args[2])
		}
		nothing := func(string) (string, bool) { return "", false }
		document, err := cli.ReadKickstart(name, []byte(here(dirs, text)), nothing)
		if err != nil {
			t.Fatal(err)
		}
		if err := document.Explain(document.Kickstart.Validate()); err != nil {
			t.Error(err)
		}
		if keys := document.Kickstart.APIKeys; len(keys) != 1 || keys[0].Key.Reveal() != m.secret.StringData["backend-key"] {
			t.Errorf("the kickstart makes %+v", keys)
		}
	}
	if len(commands) != 2 || !commands["migrate"] || !commands["apply"] {
		t.Errorf("there are Jobs for %v, want migrate and apply", commands)
	}
	if !strings.Contains(m.secret.StringData["database-url"], "sslmode=verify-full") {
		t.Error("the database's URL does not ask for a verified connection")
	}
}
