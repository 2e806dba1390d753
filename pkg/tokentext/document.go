package tokentext

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"
)

// object is a document of YAML or JSON.
type object = map[string]any

var kindLine = regexp.MustCompile(`(?m)^\s*\{?\s*"?(kind|apiVersion)"?\s*:`) //nolint:gochecknoglobals // constant

// parseObjects reads Kubernetes objects, or any JSON object. It returns nothing
// for what can't be parsed: a token may be found in it all the same.
func parseObjects(text string) []object {
	if !strings.HasPrefix(strings.TrimSpace(text), "{") && !kindLine.MatchString(text) {
		return nil
	}
	var all []object
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var o object
		switch err := decoder.Decode(&o); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			return nil
		case len(o) > 0:
			all = append(all, o)
		}
	}
}

// objects finds the tokens of objects. What holds none is only told if it is
// all there is.
func (r reading) objects(all []object) ([]Found, error) {
	var found []Found
	var none error
	for _, o := range all {
		f, err := r.object(o)
		if err != nil && none == nil {
			none = err
		}
		found = append(found, f...)
	}
	if len(found) == 0 {
		return nil, none
	}
	return found, nil
}

func (r reading) object(o object) ([]Found, error) {
	kind := str(o, "kind")
	if items, ok := o["items"].([]any); ok {
		var all []object
		for _, item := range items {
			if inner, ok := item.(object); ok {
				all = append(all, inner)
			}
		}
		if len(all) == 0 {
			return nil, &NotToken{What: "an empty list"}
		}
		return r.objects(all)
	}
	switch kind {
	case "Secret":
		return r.secret(o)
	case "Config":
		return r.kubeconfig(o)
	case "TokenRequest", "ExecCredential":
		if value := str(sub(o, "status"), "token"); value != "" {
			return r.foundIn(kind + ", status.token").text(value)
		}
		return nil, &NotToken{What: "a " + kind + " without status.token"}
	case "TokenReview":
		return r.foundIn("TokenReview, spec.token").text(str(sub(o, "spec"), "token"))
	case "ServiceAccount":
		return nil, &NotToken{What: "a ServiceAccount", Hint: "kubectl create token NAME makes a token of it"}
	case "":
		return r.fields(o)
	}
	return nil, &NotToken{What: "a Kubernetes object that holds no token"}
}

// fields reads JSON that names no kind: the data of a Secret, an answer of a
// token endpoint, or a part of a token that somebody has decoded.
func (r reading) fields(o object) ([]Found, error) {
	for _, name := range []string{"token", "access_token", "id_token"} {
		if value := str(o, name); len(value) >= shortest {
			return r.foundIn("field " + name).text(value)
		}
	}
	switch {
	case o["data"] != nil || o["stringData"] != nil:
		return r.secret(o)
	case o["keys"] != nil:
		return nil, &NotToken{What: "a set of public keys (JWKS)", Hint: "token verify takes it by --jwks"}
	case o["alg"] != nil:
		return nil, &NotToken{What: "the header of a token, decoded"}
	case o["iss"] != nil || o["sub"] != nil:
		return nil, &NotToken{What: "the payload of a token, decoded"}
	}
	return nil, &NotToken{What: "JSON or YAML without a token"}
}

const tokenSecretType = "kubernetes.io/service-account-token"

func (r reading) secret(o object) ([]Found, error) {
	var found []Found
	id := "Secret " + named(sub(o, "metadata"))
	data, plain := sub(o, "data"), sub(o, "stringData")
	for _, key := range slices.Sorted(maps.Keys(data)) {
		value := joined(str(data, key))
		r := r.foundIn(id + keyed(key))
		if !looksLikeToken(value, 0) && (key != "token" || len(value) < shortest) {
			continue
		}
		if f, err := r.one(value); err == nil {
			found = append(found, f...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(plain)) {
		if value := str(plain, key); looksLikeToken(value, 0) {
			if f, err := r.foundIn(id + keyed(key)).text(value); err == nil {
				found = append(found, f...)
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	if str(o, "type") != tokenSecretType {
		return nil, &NotToken{What: "a Secret that holds no token"}
	}
	return nil, &NotToken{What: "a token Secret without a token", Hint: "the token controller has not filled it, or kubectl does not show it"}
}

// looksLikeToken goes by the first characters, also under base64.
func looksLikeToken(value string, layer int) bool {
	value = strings.TrimSpace(value)
	if len(value) < shortest || layer > 2 {
		return false
	}
	if strings.HasPrefix(value, "eyJ") && strings.Contains(value, ".") || strings.HasPrefix(value, "Bearer ") {
		return true
	}
	inside, _ := unbase64(value)
	return printable(inside) >= shortest && looksLikeToken(string(inside), layer+1)
}

func (r reading) kubeconfig(o object) ([]Found, error) {
	users, _ := o["users"].([]any)
	var found []Found
	other, current := "", currentUser(o)
	for i, u := range users {
		entry, _ := u.(object)
		user := sub(entry, "user")
		place := fmt.Sprintf("kubeconfig, users[%d].user.token", i)
		if current != "" && str(entry, "name") == current {
			place += " (the current user)"
		}
		value := str(user, "token")
		switch {
		case hidden(value) && value != "":
			other = "kubectl config view --raw shows the tokens in it"
		case value != "":
			f, err := r.foundIn(place).text(value)
			if err != nil {
				return nil, err
			}
			found = append(found, f...)
		case user["exec"] != nil:
			other = "its user gets tokens from a program (exec), whose output can be pasted"
		case str(user, "tokenFile") != "":
			other = "its user has a tokenFile: give that file"
		case user["client-certificate-data"] != nil || user["client-certificate"] != nil:
			other = "its user has a client certificate"
		}
	}
	if len(found) == 0 {
		return nil, &NotToken{What: "a kubeconfig without a token", Hint: other}
	}
	return found, nil
}

// currentUser returns the user of a kubeconfig's current context.
func currentUser(o object) string {
	contexts, _ := o["contexts"].([]any)
	for _, c := range contexts {
		if entry, _ := c.(object); str(entry, "name") == str(o, "current-context") {
			return str(sub(entry, "context"), "user")
		}
	}
	return ""
}

func sub(o object, name string) object {
	inner, _ := o[name].(object)
	return inner
}

func str(o object, name string) string {
	text, _ := o[name].(string)
	return text
}

// named returns NAMESPACE/NAME, if these are names.
func named(metadata object) string { return name(str(metadata, "namespace"), str(metadata, "name")) }

func name(namespace, name string) string {
	switch {
	case len(validation.IsDNS1123Subdomain(name)) > 0:
		return "without a name"
	case len(validation.IsDNS1123Label(namespace)) > 0:
		return name
	}
	return namespace + "/" + name
}

// keyed names a key of a Secret, unless its name is too strange.
func keyed(key string) string {
	if len(key) > 63 || len(validation.IsConfigMapKey(key)) > 0 {
		return ""
	}
	return ", key " + key
}

//nolint:gochecknoglobals // constants
var (
	nameLine  = regexp.MustCompile(`^\s*Name:\s+(\S+)\s*$`)
	fieldLine = regexp.MustCompile(`^\s*([A-Za-z0-9._-]+):\s*(.*)$`)
	sizeOnly  = regexp.MustCompile(`^\d+ bytes$`)
)

// described is a Secret as kubectl describe prints it.
type described struct {
	name, namespace string
	fields          []keyValue
	isSecret        bool
}

type keyValue struct{ key, value string }

// describedSecrets reads the output of kubectl describe. A value may go on over
// several lines, as a terminal wraps it.
func describedSecrets(text string) []described {
	var all []described
	inData := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := nameLine.FindStringSubmatch(line); m != nil {
			all, inData = append(all, described{name: m[1]}), false
			continue
		}
		if len(all) == 0 {
			continue
		}
		d := &all[len(all)-1]
		m := fieldLine.FindStringSubmatch(line)
		switch {
		case line == "Data" || strings.Trim(line, "=") == "" && line != "":
			inData, d.isSecret = true, true
		case m != nil && m[1] == "Namespace" && !inData:
			d.namespace = m[2]
		case m != nil && m[1] == "Type" && m[2] == tokenSecretType:
			d.isSecret = true
		case m != nil && inData:
			d.fields = append(d.fields, keyValue{m[1], m[2]})
		case inData && onlyTokenChars(line) && len(d.fields) > 0:
			d.fields[len(d.fields)-1].value += "\n" + line
		}
	}
	return slices.DeleteFunc(all, func(d described) bool { return !d.isSecret })
}

func (r reading) described(all []described) ([]Found, error) {
	var found []Found
	sizes := false
	for _, d := range all {
		for _, f := range d.fields {
			if sizeOnly.MatchString(f.value) {
				sizes = sizes || f.key == "token"
				continue
			}
			if !looksLikeToken(joined(f.value), 0) && f.key != "token" {
				continue
			}
			r := r.foundIn("Secret " + name(d.namespace, d.name) + keyed(f.key))
			if strings.Contains(f.value, "\n") {
				r = r.undid(undoneSpaces)
			}
			if f, err := r.one(joined(f.value)); err == nil {
				found = append(found, f...)
			}
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case sizes:
		return nil, &NotToken{What: "a description that shows sizes alone", Hint: "kubectl get secret NAME -o yaml shows the values"}
	}
	return nil, &NotToken{What: "the description of a Secret without a token"}
}
