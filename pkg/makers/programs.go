package makers

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"tokenward.dev/tokenward/pkg/facts"
)

// Programs are the workloads among some manifests, with what their accounts may
// do. They make what the table says of a program, and, it is likely, what their
// arguments, variables and scripts name, if the account may make it.
type Programs struct {
	table  *Table
	rights *rights
	// workloads that may make anything at all, and what words name them.
	workloads []program
	words     map[string][]int // indexes of workloads
	scripts   map[account]map[string]string
	products  []Product
	sealed    bool
	bindings  []func()
}

type program struct {
	object     Object
	account    account
	pod        *corev1.PodSpec
	containers []container
	inits      map[string]bool // words of init containers
}

// NewPrograms returns an empty set.
func NewPrograms(t *Table) *Programs {
	return &Programs{table: t, rights: newRights(), words: map[string][]int{}, scripts: map[account]map[string]string{}}
}

// AddWorkload adds what starts a pod.
func (p *Programs) AddWorkload(o *Object, pod *corev1.PodSpec) {
	w := program{object: *o, pod: pod, account: account{o.Namespace, pod.ServiceAccountName}, containers: containersOf(pod, o.Namespace, o.Name), inits: map[string]bool{}}
	for i := range w.containers {
		c := &w.containers[i]
		for j := range p.table.programs {
			row := &p.table.programs[j]
			if !c.runs(row.Program) {
				continue
			}
			products := row.products(o, &scope{root: noFields, container: c})
			for k := range products {
				products[k].Within = c.init
			}
			p.products = append(p.products, products...)
		}
	}
	p.workloads = append(p.workloads, w)
}

func noFields() map[string]any { return nil }

// AddRole adds a Role; without a namespace, a ClusterRole.
func (p *Programs) AddRole(namespace, name string, rules []rbacv1.PolicyRule) {
	p.rights.roles[account{namespace, name}] = rules
}

// AddBinding adds a RoleBinding; without a namespace, a ClusterRoleBinding.
func (p *Programs) AddBinding(namespace string, role rbacv1.RoleRef, subjects []rbacv1.Subject) {
	p.bindings = append(p.bindings, func() { p.rights.bind(namespace, role, subjects) })
}

// AddScripts adds a ConfigMap, which programs may run or read.
func (p *Programs) AddScripts(namespace, name string, data map[string]string) {
	p.scripts[account{namespace, name}] = data
}

// seal indexes the words of the workloads whose accounts may make something.
func (p *Programs) seal() {
	p.sealed = true
	for _, bind := range p.bindings {
		bind()
	}
	for i := range p.workloads {
		w := &p.workloads[i]
		if len(p.rights.creates[w.account]) == 0 {
			continue
		}
		for _, word := range p.wordsOf(w) {
			if all := p.words[word]; len(all) == 0 || all[len(all)-1] != i {
				p.words[word] = append(all, i)
			}
		}
	}
}

// maxNamed bounds how many words of one workload are looked at.
const maxNamed = 20_000

// wordsOf returns the words that may be names: values of flags and variables, and
// what has a dash or a dot in scripts and configurations.
func (p *Programs) wordsOf(w *program) []string {
	words := slices.Clone(p.rights.names[w.account])
	for i := range w.containers {
		c := &w.containers[i]
		from := len(words)
		for _, argument := range c.arguments {
			words = append(words, namesIn(argument)...)
		}
		for _, value := range c.variables {
			words = append(words, namesIn(value)...)
		}
		for _, word := range words[from:] {
			if c.init {
				w.inits[word] = true
			}
		}
	}
	for i := range w.pod.Volumes {
		if m := w.pod.Volumes[i].ConfigMap; m != nil {
			for _, script := range p.scripts[account{w.object.Namespace, m.Name}] {
				words = append(words, namesIn(script)...)
			}
		}
	}
	return words[:min(len(words), maxNamed)]
}

var dnsName = regexp.MustCompile(`[a-z0-9]([a-z0-9.-]*[a-z0-9])?`)

// namesIn returns what may be a name in a value: the value itself, or that of a
// flag, whole; of a longer text the words that look like names.
func namesIn(value string) []string {
	if flag, given, ok := strings.Cut(value, "="); ok && !strings.ContainsAny(flag, " \n") {
		value = given
	}
	value = strings.TrimSpace(value)
	if !strings.ContainsAny(value, " \t\n,:/=") {
		return []string{value}
	}
	return slices.DeleteFunc(dnsName.FindAllString(value, -1), func(word string) bool {
		return !strings.ContainsAny(word, "-.") || len(word) < 4
	})
}

// Of returns what makes an object that a user, such as "Deployment shop/web",
// refers to. A workload that makes it only for itself could never start.
func (p *Programs) Of(o facts.Object, user string) (Product, bool) {
	if !p.sealed {
		p.seal()
	}
	for i := range p.products {
		if made := &p.products[i]; made.Kind == o.Kind && made.Name == o.Name && (made.Namespace == "" || made.Namespace == o.Namespace) &&
			(made.By != user || made.Within) {
			return *made, true
		}
	}
	for _, i := range p.words[o.Name] {
		w := &p.workloads[i]
		by := w.object.String()
		if p.rights.may(w.account, o.Kind, o.Namespace) && (by != user || w.inits[o.Name]) {
			return Product{Object: o, By: by, Likely: true, Within: w.inits[o.Name]}, true
		}
	}
	return Product{}, false
}
