package makers

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// container is a program as a manifest starts it.
type container struct {
	image string
	// arguments are the command and its arguments; words are the same with scripts
	// taken apart.
	arguments, words []string
	variables        map[string]string
	init             bool
}

// containersOf returns the programs of a pod in a namespace.
func containersOf(pod *corev1.PodSpec, namespace, name string) []container {
	all := make([]container, 0, len(pod.InitContainers)+len(pod.Containers))
	for i := range pod.InitContainers {
		all = append(all, newContainer(&pod.InitContainers[i], namespace, name, true))
	}
	for i := range pod.Containers {
		all = append(all, newContainer(&pod.Containers[i], namespace, name, false))
	}
	return all
}

func newContainer(from *corev1.Container, namespace, name string, isInit bool) container {
	c := container{image: withoutTag(from.Image), variables: map[string]string{}, init: isInit}
	for i := range from.Env {
		e := &from.Env[i]
		switch field := ""; {
		case e.ValueFrom != nil && e.ValueFrom.FieldRef != nil:
			if field = e.ValueFrom.FieldRef.FieldPath; field == "metadata.namespace" {
				c.variables[e.Name] = namespace
			} else if field == "metadata.name" {
				c.variables[e.Name] = name
			}
		case e.ValueFrom == nil:
			c.variables[e.Name] = c.substituted(e.Value)
		}
	}
	for _, argument := range slices.Concat(from.Command, from.Args) {
		argument = c.substituted(argument)
		c.arguments = append(c.arguments, argument)
		c.words = append(c.words, wordsOf(argument)...)
	}
	return c
}

// withoutTag takes tag and digest off an image.
func withoutTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		image = image[:colon]
	}
	return image
}

var variable = regexp.MustCompile(`\$(?:\(([A-Za-z_]\w*)\)|\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))`)

// substituted fills in the variables that are known, as the kubelet does, $(NAME),
// and a shell, $NAME and ${NAME}.
func (c *container) substituted(text string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	return variable.ReplaceAllStringFunc(text, func(whole string) string {
		if value, ok := c.variables[strings.Trim(whole, "$(){}")]; ok {
			return value
		}
		return whole
	})
}

// wordsOf takes a script apart as a shell does, roughly.
func wordsOf(text string) []string {
	return strings.FieldsFunc(strings.ReplaceAll(text, "\\\n", " "), func(r rune) bool {
		return strings.ContainsRune(" \t\r\n\"';,()[]{}", r)
	})
}

// runs reports whether the container runs a program.
func (c *container) runs(p *Program) bool {
	if p.Image != "" && !strings.Contains(c.image, p.Image) {
		return false
	}
	for _, word := range p.Words {
		if !slices.ContainsFunc(c.words, func(w string) bool { return w == word || strings.HasSuffix(w, "/"+word) }) {
			return false
		}
	}
	return true
}

// flag returns the value of a flag: --name=value, or --name value. With one dash
// it is the same flag.
func (c *container) flag(name string) any {
	if c == nil {
		return nil
	}
	name = strings.TrimLeft(name, "-")
	for i, word := range c.words {
		if !strings.HasPrefix(word, "-") {
			continue
		}
		flag, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case flag != name:
		case given:
			return value
		case i+1 < len(c.words) && !strings.HasPrefix(c.words[i+1], "-"):
			return c.words[i+1]
		default:
			return "true"
		}
	}
	return nil
}

func (c *container) environment(name string) any {
	if c == nil {
		return nil
	}
	return c.variables[name]
}
