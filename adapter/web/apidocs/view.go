package apidocs

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// origin returns the URL of the service in the document.
func (s *spec) origin() string {
	if len(s.Servers) == 0 {
		return ""
	}
	return s.Servers[0].URL
}

type view struct {
	Base                            string // of the paths of the page's own files
	Title, Version, Summary, Origin string
	Guide                           []section
	Groups                          []group
}

type group struct {
	ID, Name    string
	Description template.HTML
	Operations  []*operationView
}

type operationView struct {
	ID, Method, Path, Summary string
	Description               template.HTML
	Credentials               []string
	Parameters                []field
	Bodies                    []bodyView
	BodyNote                  template.HTML
	Samples                   []sample
	Responses                 []responseView
}

type bodyView struct {
	MediaType string
	Required  bool
	Root      field
}

// field is a parameter, a header, or a schema. Fields are its members; Variants are alternative forms.
type field struct {
	Name, Type, In string
	Aliases        []string
	Required       bool
	Description    template.HTML
	Fields         []field
	Variants       []field
}

type sample struct {
	Title string
	Text  template.HTML
}

type responseView struct {
	Status      string
	Class       string // the status's first digit
	Description template.HTML
	Headers     []field
	Bodies      []bodyView
	Samples     []sample
}

func newView(base string, openapi []byte) (*view, error) {
	var s spec
	if err := yaml.Unmarshal(openapi, &s); err != nil {
		return nil, err
	}
	v := &view{Base: base, Title: s.Info.Title, Version: s.Info.Version, Summary: s.Info.Summary, Origin: s.origin(),
		Guide: sections(s.Info.Description)}
	byTag := map[string][]*operationView{}
	for _, path := range s.Paths {
		var shared []parameter
		for _, entry := range path.Value {
			if entry.Name == "parameters" {
				if err := entry.Value.Decode(&shared); err != nil {
					return nil, fmt.Errorf("%s: %w", path.Name, err)
				}
				continue
			}
			var op operation
			if err := entry.Value.Decode(&op); err != nil {
				return nil, fmt.Errorf("%s %s: %w", entry.Name, path.Name, err)
			}
			if len(op.Tags) != 1 {
				return nil, fmt.Errorf("%s %s: want one tag", entry.Name, path.Name)
			}
			op.Parameters = append(shared[:len(shared):len(shared)], op.Parameters...)
			shown, err := s.operation(strings.ToUpper(entry.Name), path.Name, op)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", entry.Name, path.Name, err)
			}
			byTag[op.Tags[0]] = append(byTag[op.Tags[0]], shown)
		}
	}
	for _, tag := range s.Tags {
		v.Groups = append(v.Groups, group{
			ID: "group-" + slug(tag.Name), Name: tag.Name, Description: markdown(tag.Description), Operations: byTag[tag.Name],
		})
	}
	return v, nil
}

func (s *spec) operation(method, path string, op operation) (*operationView, error) {
	v := &operationView{ID: op.ID, Method: method, Path: path, Summary: op.Summary, Description: markdown(op.Description)}
	for _, alternative := range op.Security {
		var names []string
		for _, scheme := range alternative {
			names = append(names, credentialNames[scheme.Name])
		}
		v.Credentials = append(v.Credentials, strings.Join(names, " + "))
	}
	if len(op.Security) == 0 || len(op.Security[0]) == 0 {
		v.Credentials = append([]string{"Public"}, v.Credentials[min(1, len(v.Credentials)):]...)
	}
	resolved := make([]parameter, len(op.Parameters))
	for i, p := range op.Parameters {
		var err error
		if resolved[i], err = s.Components.Parameters.orFind(p.Ref, p); err != nil {
			return nil, err
		}
	}
	op.Parameters = resolved
	var err error
	if v.Parameters, err = s.fields(op.Parameters); err != nil {
		return nil, err
	}
	if op.RequestBody != nil {
		v.BodyNote = markdown(op.RequestBody.Description)
		for _, content := range op.RequestBody.Content {
			root, err := s.field("", content.Value.Schema)
			if err != nil {
				return nil, err
			}
			v.Bodies = append(v.Bodies, bodyView{content.Name, op.RequestBody.Required, root})
		}
	}
	if v.Samples, err = s.curls(method, path, op); err != nil {
		return nil, err
	}
	for _, entry := range op.Responses {
		shown, err := s.responseView(entry.Name, entry.Value)
		if err != nil {
			return nil, err
		}
		v.Responses = append(v.Responses, shown)
	}
	return v, nil
}

var credentialNames = map[string]string{
	"apiKey": "API key", "tenant": "tenant", "accessToken": "access token", "cookie": "cookie",
}

func (s *spec) responseView(status string, r response) (responseView, error) {
	r, err := s.Components.Responses.orFind(r.Ref, r)
	if err != nil {
		return responseView{}, err
	}
	a := responseView{Status: status, Class: status[:1], Description: markdown(r.Description)}
	headers := make([]parameter, 0, len(r.Headers))
	for _, header := range r.Headers {
		p, err := s.Components.Headers.orFind(header.Value.Ref, header.Value)
		if err != nil {
			return responseView{}, err
		}
		p.Name = header.Name
		headers = append(headers, p)
	}
	if a.Headers, err = s.fields(headers); err != nil {
		return responseView{}, err
	}
	for _, content := range r.Content {
		root, err := s.field("", content.Value.Schema)
		if err != nil {
			return responseView{}, err
		}
		a.Bodies = append(a.Bodies, bodyView{MediaType: content.Name, Root: root})
		for _, x := range content.Value.Examples {
			text := x.Value.Value.Value
			if !strings.HasPrefix(content.Name, "text/") {
				if text, err = toJSON(&x.Value.Value, ""); err != nil {
					return responseView{}, err
				}
			}
			a.Samples = append(a.Samples, sample{x.Value.Summary, highlight(text)})
		}
	}
	return a, nil
}

// fields merges aliases into the fields that they stand for.
func (s *spec) fields(parameters []parameter) ([]field, error) {
	var all []field
	for _, p := range parameters {
		if p.AliasOf != "" {
			addAlias(all, p.AliasOf, p.Name)
			continue
		}
		f, err := s.field(p.Name, p.Schema)
		if err != nil {
			return nil, err
		}
		if p.Description != "" {
			f.Description = markdown(p.Description)
		}
		f.In, f.Required = p.In, p.Required || p.Asked
		all = append(all, f)
	}
	return all, nil
}

func addAlias(all []field, of, alias string) {
	for i := range all {
		if all[i].Name == of {
			all[i].Aliases = append(all[i].Aliases, alias)
		}
	}
}

func (s *spec) field(name string, of schema) (field, error) {
	of, err := s.schema(of)
	if err != nil {
		return field{}, err
	}
	f := field{Name: name, Required: of.Asked, Description: markdown(of.Description)}
	items := ""
	if of.Items != nil {
		item, err := s.field("", *of.Items)
		if err != nil {
			return field{}, err
		}
		kind, _, _ := strings.Cut(item.Type, ",")
		items, f.Fields, f.Variants = kind+"s", item.Fields, item.Variants
	}
	f.Type = typeOf(of, items)
	for _, p := range of.Properties {
		member, err := s.schema(p.Value)
		if err != nil {
			return field{}, err
		}
		if member.AliasOf != "" {
			addAlias(f.Fields, member.AliasOf, p.Name)
			continue
		}
		child, err := s.field(p.Name, p.Value)
		if err != nil {
			return field{}, err
		}
		child.Required = child.Required || slices.Contains(of.Required, p.Name)
		f.Fields = append(f.Fields, child)
	}
	if of.AdditionalProperties.Kind == yaml.MappingNode {
		var values schema
		if err := of.AdditionalProperties.Decode(&values); err != nil {
			return field{}, err
		}
		child, err := s.field("<name>", values)
		if err != nil {
			return field{}, err
		}
		f.Fields = append(f.Fields, child)
	}
	for _, variant := range of.OneOf {
		form, err := s.field("", variant)
		if err != nil {
			return field{}, err
		}
		if len(form.Fields) == 0 {
			continue // only lists the allowed combinations, which the description explains
		}
		target, err := s.schema(variant)
		if err != nil {
			return field{}, err
		}
		form.Name = target.Title
		f.Variants = append(f.Variants, form)
	}
	return f, nil
}

// curls returns the examples of an operation as curl commands: one without a body, otherwise one for each example.
func (s *spec) curls(method, path string, op operation) ([]sample, error) {
	query := url.Values{}
	for _, p := range op.Parameters {
		switch {
		case p.Example == "":
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(p.Example))
		case p.In == "query":
			query.Set(p.Name, p.Example)
		}
	}
	target := s.origin() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	command := func(withKey bool, extra ...string) template.HTML {
		words := []string{"curl -i"}
		if method != "GET" {
			words[0] += " -X " + method
		}
		words[0] += " " + quote(target)
		if withKey {
			words = append(words, `-H "Authorization: $API_KEY"`)
			tenant, err := s.Components.SecuritySchemes.find("tenant")
			asked := slices.ContainsFunc(op.Security, func(alternative ordered[yaml.Node]) bool {
				_, err := alternative.find("tenant")
				return err == nil
			})
			if err == nil && asked {
				words = append(words, "-H "+quote(tenant.Name+": "+tenant.Example))
			}
		}
		return highlight(strings.Join(append(words, extra...), " \\\n  "))
	}
	keyed := len(op.Security) > 0 && len(op.Security[0]) > 0
	var samples []sample
	if op.RequestBody == nil {
		return append(samples, sample{op.Summary, command(keyed)}), nil
	}
	for _, content := range op.RequestBody.Content {
		for _, x := range content.Value.Examples {
			if content.Name != "application/json" {
				var form ordered[string]
				if err := x.Value.Value.Decode(&form); err != nil {
					return nil, err
				}
				var words []string
				for _, pair := range form {
					words = append(words, "--data-urlencode "+quote(pair.Name+"="+pair.Value))
				}
				samples = append(samples, sample{x.Value.Summary, command(keyed, words...)})
				continue
			}
			text, err := toJSON(&x.Value.Value, "  ")
			if err != nil {
				return nil, err
			}
			samples = append(samples, sample{
				x.Value.Summary, command(keyed || x.Value.WithKey, "-H 'Content-Type: application/json'", "-d "+quote(text)),
			})
		}
	}
	return samples, nil
}

// quote returns s as one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// toJSON converts a node to JSON in the order of the document, with short values on one line.
func toJSON(node *yaml.Node, indent string) (string, error) {
	const line = 60
	var parts []string
	open, shut := "{", "}"
	deeper := indent + "  "
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(node.Content); i += 2 {
			value, err := toJSON(node.Content[i+1], deeper)
			if err != nil {
				return "", err
			}
			parts = append(parts, fmt.Sprintf("%q: %s", node.Content[i].Value, value))
		}
	case yaml.SequenceNode:
		open, shut = "[", "]"
		for _, item := range node.Content {
			value, err := toJSON(item, deeper)
			if err != nil {
				return "", err
			}
			parts = append(parts, value)
		}
	case yaml.ScalarNode:
		var value any
		if err := node.Decode(&value); err != nil {
			return "", err
		}
		text, err := json.Marshal(value)
		return string(text), err
	default:
		return "", errors.New("an example is not JSON")
	}
	short := open + strings.Join(parts, ", ") + shut
	if len(short) <= line && !strings.Contains(short, "\n") {
		return short, nil
	}
	return open + "\n" + deeper + strings.Join(parts, ",\n"+deeper) + "\n" + indent + shut, nil
}

var jsonToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"(\s*:)?| (?:true|false|null|-?\d+)\b`)

// longWord is the length from which a word may break at any letter, as a token string does, instead of beginning on the
// next line.
const longWord = 40

// highlight colours names, strings and other values.
func highlight(text string) template.HTML {
	var out strings.Builder
	at := 0
	for _, m := range jsonToken.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(html.EscapeString(text[at:m[0]]))
		class := "s"
		switch {
		case m[2] >= 0:
			class = "k"
		case text[m[0]] != '"':
			class = "v"
		case m[1]-m[0] > longWord && !strings.Contains(text[m[0]:m[1]], " "):
			class = "s long"
		}
		out.WriteString(`<span class="` + class + `">` + html.EscapeString(text[m[0]:m[1]]) + "</span>")
		at = m[1]
	}
	out.WriteString(html.EscapeString(text[at:]))
	return template.HTML(out.String())
}
