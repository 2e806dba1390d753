package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// repository is what the docs may name.
type repository struct {
	tree     fs.FS
	files    map[string]bool       // files and directories, by path
	packages map[string][]*goFiles // by the name in the package clause
	types    map[string][]*goFiles // by name
	names    map[string]bool       // every identifier in Go code, and every word of its string literals
	comments map[string]string     // package comments, by file
	targets  map[string]bool       // of the Makefile
	makefile string
	flags    map[string]bool // of our programs
	metrics  map[string]bool
	values   any // of the chart
	pages    map[string]*page
}

// goFiles are the declarations of one package.
type goFiles struct {
	top     map[string]bool            // with methods, without their types
	members map[string]map[string]bool // fields and methods by type
	embeds  map[string][]string        // names of embedded types by type
}

var (
	directories = []string{"pkg", "cmd", "test", "config", "charts", "docs", "examples", "hack", "tools", "plugin", ".ci"}
	makeTarget  = regexp.MustCompile(`(?m)^([A-Za-z0-9_./ -]+):(?:[^=]|$)`)
	flagMethod  = regexp.MustCompile(`^(Bool|String|Int|Duration|Float64|StringArray|StringSlice|StringToString)(Var)?P?$`)
	word        = regexp.MustCompile(`\w+`)
)

// load reads a repository; the directory bin is what builds leave behind.
func load(tree fs.FS) (*repository, error) {
	r := &repository{
		tree: tree, files: map[string]bool{}, packages: map[string][]*goFiles{}, types: map[string][]*goFiles{},
		names: map[string]bool{}, comments: map[string]string{}, targets: map[string]bool{}, flags: map[string]bool{},
		metrics: map[string]bool{}, pages: map[string]*page{},
	}
	byDirectory := map[string]*goFiles{}
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "bin" || name == ".git"):
			return fs.SkipDir
		}
		r.files[name] = true
		if entry.IsDir() || !slices.Contains([]string{".go", ".md"}, path.Ext(name)) {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if path.Ext(name) == ".md" {
			r.addPage(name, string(text))
			return nil
		}
		return r.addGo(name, text, byDirectory)
	})
	if err != nil {
		return nil, err
	}
	makefile, err := fs.ReadFile(tree, "Makefile")
	if err != nil {
		return nil, err
	}
	r.makefile = string(makefile)
	for _, m := range makeTarget.FindAllStringSubmatch(r.makefile, -1) {
		for _, target := range strings.Fields(m[1]) {
			r.targets[target] = true
		}
	}
	values, err := fs.ReadFile(tree, "charts/tokenward/values.yaml")
	if err != nil {
		return nil, err
	}
	return r, yaml.Unmarshal(values, &r.values)
}

func (r *repository) addPage(name, text string) {
	r.pages[name] = parsePage(text)
	if strings.HasPrefix(name, "docs/cli/") {
		for _, m := range longFlag.FindAllStringSubmatch(text, -1) {
			r.flags[m[1]] = true
		}
	}
}

func (r *repository) addGo(name string, text []byte, byDirectory map[string]*goFiles) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	if file.Doc != nil {
		r.comments[name] = file.Doc.Text()
	}
	packageName := strings.TrimSuffix(file.Name.Name, "_test")
	key := path.Dir(name) + " " + packageName
	p := byDirectory[key]
	if p == nil {
		p = &goFiles{top: map[string]bool{}, members: map[string]map[string]bool{}, embeds: map[string][]string{}}
		byDirectory[key] = p
		if packageName != "main" {
			r.packages[packageName] = append(r.packages[packageName], p)
		}
	}
	for _, d := range file.Decls {
		r.addDeclaration(p, d)
	}
	if path.Dir(name) == "test/docs" {
		return nil // what this test forbids is no proof that it exists
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			r.names[n.Name] = true
		case *ast.BasicLit:
			r.addLiteral(name, n)
		case *ast.CallExpr:
			r.addFlag(name, n)
		}
		return true
	})
	return nil
}

func (r *repository) addDeclaration(p *goFiles, d ast.Decl) {
	member := func(of, name string) {
		if p.members[of] == nil {
			p.members[of] = map[string]bool{}
		}
		p.members[of][name] = true
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		p.top[d.Name.Name] = true
		if d.Recv != nil {
			member(typeName(d.Recv.List[0].Type), d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					p.top[n.Name] = true
				}
			case *ast.TypeSpec:
				p.top[s.Name.Name] = true
				r.types[s.Name.Name] = append(r.types[s.Name.Name], p)
				for _, f := range fieldsOf(s.Type) {
					for _, n := range f.Names {
						member(s.Name.Name, n.Name)
					}
					if len(f.Names) == 0 {
						member(s.Name.Name, typeName(f.Type))
						p.embeds[s.Name.Name] = append(p.embeds[s.Name.Name], typeName(f.Type))
					}
				}
			}
		}
	}
}

func fieldsOf(t ast.Expr) []*ast.Field {
	switch t := t.(type) {
	case *ast.StructType:
		return t.Fields.List
	case *ast.InterfaceType:
		return t.Methods.List
	}
	return nil
}

// typeName is the last name of a type: Handler for *admission.Handler[T].
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	}
	return ""
}

// addLiteral keeps words of string literals: fields of JSON, and names of series.
func (r *repository) addLiteral(file string, literal *ast.BasicLit) {
	if literal.Kind != token.STRING {
		return
	}
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		return
	}
	for _, w := range word.FindAllString(text, -1) {
		r.names[w] = true
	}
	if strings.HasPrefix(file, "pkg/metrics/") {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			r.metrics["tokenward_"+text+suffix] = true
		}
	}
}

// addFlag recognises flags.StringVar(&s, "name", ...) of the package flag and of pflag.
func (r *repository) addFlag(file string, call *ast.CallExpr) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !flagMethod.MatchString(selector.Sel.Name) || strings.HasSuffix(file, "_test.go") {
		return
	}
	for _, argument := range call.Args[:min(2, len(call.Args))] {
		if literal, ok := argument.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			r.flags[strings.Trim(literal.Value, "\"`")] = true
			return
		}
	}
}

// hasMember looks into a type and what it embeds, down to depth.
func (r *repository) hasMember(p *goFiles, typeName, member string, depth int) bool {
	if p.members[typeName][member] {
		return true
	}
	for _, embedded := range p.embeds[typeName] {
		for _, q := range r.types[embedded] {
			if depth > 0 && r.hasMember(q, embedded, member, depth-1) {
				return true
			}
		}
	}
	return false
}

// hasFile looks a path up; capitals in it stand for any name where there is no such file.
func (r *repository) hasFile(name string) bool {
	if r.files[name] {
		return true
	}
	pattern := placeholder.ReplaceAllString(name, "*")
	for file := range r.files {
		if ok, err := path.Match(pattern, file); ok && err == nil {
			return true
		}
	}
	return false
}

var placeholder = regexp.MustCompile(`[A-Z][A-Z_-]*`)

// hasValue looks up a value of the chart by its path.
func (r *repository) hasValue(names []string) bool {
	at := r.values
	for _, name := range names {
		mapping, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = mapping[name]; !ok {
			return false
		}
	}
	return true
}
