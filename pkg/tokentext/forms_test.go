package tokentext

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"mime/quotedprintable"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// form is another form in which people paste tokens. Of these the test wants the
// token alone; how it was undone may be told in many ways.
type form struct {
	name string
	wrap func(token string) string
}

// around puts a text with @ around a token.
func around(text string) func(string) string {
	return func(token string) string { return strings.ReplaceAll(text, "@", token) }
}

// aroundLines is around, of a token whose lines are wrapped and indented.
func aroundLines(text, newline string, width int) func(string) string {
	return func(token string) string { return strings.ReplaceAll(text, "@", lines(token, newline, width)) }
}

func encodedForms() []form {
	secret := func(t string) string { return secretYAML("data", std(t)) }
	return []form{
		{"base64 in a terminal of 80", func(t string) string { return lines(std(t), "\n", 80) }},
		{"base64 of wrapped base64", func(t string) string { return std(lines(std(t), "\n", 76)) }},
		{"base64 thrice", func(t string) string { return std(std(std(t))) }},
		{"base64 with the mark of zsh", func(t string) string { return std(t) + "%" }},
		{"base64 below a prompt", func(t string) string {
			return "$ kubectl get secret robot -o jsonpath='{.data.token}'\n" + std(t) + "\n$ "
		}},
		{"base64 of a Secret", func(t string) string { return std(secret(t)) }},
		{"base64 of a kubeconfig", func(t string) string { return std(kubeconfig(t)) }},
		{"base64 of UTF-16", func(t string) string {
			var b bytes.Buffer
			b.WriteString("\xff\xfe")
			for _, c := range []byte(t) {
				b.Write([]byte{c, 0})
			}
			return base64.StdEncoding.EncodeToString(b.Bytes())
		}},
		{"gzip in base64", zipped},
		{"a Helm release in a Secret", func(t string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: sh.helm.release.v1.web.v1, namespace: shop}\ntype: helm.sh/release.v1\ndata:\n  release: " + std(zipped(`{"manifest":`+strconv.Quote(secret(t))+`}`)) + "\n"
		}},
		{"an Argo CD cluster Secret", func(t string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: cluster, labels: {argocd.argoproj.io/secret-type: cluster}}\nstringData:\n  name: prod\n  server: https://10.0.0.1\n  config: |\n    {\"bearerToken\": \"" + t + "\", \"tlsClientConfig\": {\"insecure\": false}}\n"
		}},
		{"an Argo CD cluster Secret in base64", func(t string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: cluster}\ndata:\n  config: " + std(`{"bearerToken":"`+t+`"}`) + "\n"
		}},
		{"a kubeconfig in a Secret", func(t string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: web-kubeconfig}\ndata:\n  value: " + std(kubeconfig(t)) + "\n"
		}},
		{"a kubeconfig in stringData", func(t string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: k}\nstringData:\n  kubeconfig: |\n    " + strings.ReplaceAll(kubeconfig(t), "\n", "\n    ") + "\n"
		}},
		{"a Secret in a Secret", func(t string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: outer}\ndata:\n  inner.yaml: " + std(secret(t)) + "\n"
		}},
		{"a dockerconfigjson with auth", func(t string) string {
			return `{"auths":{"registry.example.com":{"auth":"` + std("serviceaccount:"+t) + `"}}}`
		}},
		{"a dockerconfigjson with a password", around(`{"auths":{"registry.example.com":{"username":"serviceaccount","password":"@"}}}`)},
		{"a Secret with a dockerconfigjson", func(t string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: pull}\ntype: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: " + std(`{"auths":{"r.io":{"auth":"`+std("sa:"+t)+`"}}}`) + "\n"
		}},
		{"Basic", func(t string) string { return "Authorization: Basic " + std("oauth2:"+t) }},
		{"Basic in a curl command", func(t string) string { return `curl -H "Authorization: Basic ` + std("sa:"+t) + `" https://r.io/v2/` }},
		{"a websocket subprotocol", func(t string) string { return "Sec-WebSocket-Protocol: " + websocket(t) }},
		{"a websocket subprotocol among others", func(t string) string { return "v4.channel.k8s.io, " + websocket(t) }},
		{"percent-encoded", func(t string) string { return strings.ReplaceAll(t, ".", "%2E") }},
		{"percent-encoded twice", func(t string) string { return url.QueryEscape(url.QueryEscape("Bearer " + t)) }},
		{"quoted-printable", func(t string) string {
			var b bytes.Buffer
			w := quotedprintable.NewWriter(&b)
			_, _ = w.Write([]byte("token: " + t))
			_ = w.Close()
			return b.String()
		}},
		{"HTML entities", func(t string) string { return html.EscapeString(`<a href="x?t=` + t + `">`) }},
		{"HTML with breaks", func(t string) string { return "<p>" + lines(t, "<br>\n", 60) + "</p>" }},
		{"HTML with a wbr", func(t string) string { return "<td>" + lines(t, "<wbr>", 40) + "</td>" }},
		{"JSON in JSON in JSON", func(t string) string { return quoteTwice(`{"token":"` + t + `"}`) }},
		{"unicode escapes", func(t string) string { return `{"t": "` + strings.ReplaceAll(t, "-", `\u002d`) + `"}` }},
	}
}

func documentForms() []form {
	return []form{
		{"a literal block", aroundLines("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: |\n    @\n", "\n    ", 70)},
		{"a literal block, stripped", aroundLines("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: |-\n    @\n", "\n    ", 70)},
		{"a literal block, kept", aroundLines("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: |+\n    @\n\n", "\n    ", 70)},
		{"a literal block with an indent", aroundLines("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: |2-\n    @\n", "\n    ", 70)},
		{"a folded block", aroundLines("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: >\n    @\n", "\n    ", 70)},
		{"a folded block, stripped", aroundLines("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: >-\n    @\n", "\n    ", 70)},
		{"a folded block, kept", aroundLines("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  token: >+\n    @\n", "\n    ", 70)},
		{"a block alone", aroundLines("token: |\n  @\n", "\n  ", 60)},
		{"a block alone, stripped", aroundLines("token: |-\n  @\n", "\n  ", 60)},
		{"a folded block alone", aroundLines("token: >-\n  @\n", "\n  ", 60)},
		{"a plain scalar over lines", aroundLines("token:\n  @\nother: x\n", "\n  ", 60)},
		{"a double-quoted scalar over lines", aroundLines("token: \"@\"\n", "\\\n  ", 60)},
		{"base64 in a literal block", func(t string) string { return secretYAML("data", "|\n    "+lines(std(t), "\n    ", 64)) }},
		{"base64 in a literal block, stripped", func(t string) string { return secretYAML("data", "|-\n    "+lines(std(t), "\n    ", 64)) }},
		{"base64 in a folded block, kept", func(t string) string { return secretYAML("data", ">+\n    "+lines(std(t), "\n    ", 64)) }},
		{"base64 in quotes in a Secret", func(t string) string { return secretYAML("data", `"`+std(t)+`"`) }},
		{"a binary tag", func(t string) string { return secretYAML("data", "!!binary "+std(t)) }},
		{"a flow mapping", around("{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {token: @}}")},
		{"several documents, the first empty", func(t string) string { return "---\n---\n" + secretYAML("data", std(t)) }},
		{"a Secret after a comment", func(t string) string { return "# from kubectl\n" + secretYAML("data", std(t)) }},
		{"a Secret below a prompt", func(t string) string { return "$ kubectl get secret robot -o yaml\n" + secretYAML("data", std(t)) }},
		{"a Secret in a diff", func(t string) string {
			return "+" + strings.ReplaceAll(strings.TrimSpace(secretYAML("data", std(t))), "\n", "\n+")
		}},
		{"a Secret in a mail", func(t string) string {
			return "> " + strings.ReplaceAll(strings.TrimSpace(secretYAML("data", std(t))), "\n", "\n> ")
		}},
		{"a Secret in Markdown", func(t string) string { return "```yaml\n" + secretYAML("data", std(t)) + "```\n" }},
		{"a Secret with tabs made of its spaces", func(t string) string { return strings.ReplaceAll(secretYAML("data", std(t)), "  ", "\t") }},
		{"a Secret with numbered lines", func(t string) string {
			var b strings.Builder
			for i, line := range strings.Split(strings.TrimSpace(secretYAML("data", std(t))), "\n") {
				fmt.Fprintf(&b, "%3d  %s\n", i+1, line)
			}
			return b.String()
		}},
		{"a Secret cut below the token", func(t string) string { return strings.TrimSuffix(secretYAML("data", std(t)), "\n") + "\n  oth" }},
		{"the data alone", func(t string) string { return "data:\n  ca.crt: YQ==\n  token: " + std(t) + "\n" }},
		{"a line of the data", func(t string) string { return "token: " + std(t) }},
		{"a Secret as JSON, indented", func(t string) string {
			var b bytes.Buffer
			_ = json.Indent(&b, []byte(secretJSON("robot", std(t))), "", "    ")
			return b.String()
		}},
		{"a kubeconfig with two users", func(t string) string {
			return kubeconfig(t) + "- name: other\n  user: {client-certificate-data: YQ==}\n"
		}},
		{"a kubeconfig as JSON", around(`{"apiVersion":"v1","kind":"Config","users":[{"name":"a","user":{"token":"@"}}]}`)},
		{"a kubeconfig's user alone", around("- name: robot\n  user:\n    token: @\n")},
		{"a kubeconfig with a wrapped token", aroundLines("apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user:\n    token: @\n", "\n      ", 70)},
		{"a TokenReview", around(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"@"}}`)},
		{"an answer of a token endpoint", around(`{"access_token":"@","token_type":"Bearer","expires_in":3600}`)},
		{"a Pod's variable", around("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i, env: [{name: TOKEN, value: @}]}]}\n")},
		{"a ConfigMap with a kubeconfig", func(t string) string {
			return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  config: |\n    " + strings.ReplaceAll(kubeconfig(t), "\n", "\n    ") + "\n"
		}},
		{"a Terraform state", around(`{"resources":[{"type":"kubernetes_secret","instances":[{"attributes":{"data":{"token":"@"}}}]}]}`)},
		{"JSON lines of a log", around(`{"level":"info","msg":"got token","token":"@"}` + "\n" + `{"level":"info","msg":"bye"}`)},
	}
}

func shellForms() []form {
	all := []form{
		{"a prompt above", around("me@host:~$ kubectl create token robot\n@\nme@host:~$ ")},
		{"a root prompt above", around("# kubectl create token robot -n shop\n@\n")},
		{"the terminal's width", aroundLines("$ kubectl create token robot\n@\n$ ", "\n", 132)},
		{"a narrow terminal", aroundLines("@", "\n", 20)},
		{"a timestamp of a log", around("2026-11-28T06:00:00Z @")},
		{"a log line", around(`I1128 06:00:00.000000       1 round_trippers.go:466]     Authorization: Bearer @`)},
		{"a curl trace", around("> GET /api HTTP/2\n> Host: 10.0.0.1\n> authorization: Bearer @\n> accept: */*\n")},
		{"a wget header", around(`wget --header="Authorization: Bearer @" https://10.0.0.1`)},
		{"an HTTPie header", around(`http https://10.0.0.1 "Authorization:Bearer @"`)},
		{"a Python dictionary", around(`headers = {'Authorization': 'Bearer @'}`)},
		{"a Python bytes literal", around(`b'@'`)},
		{"a Go constant", around("const token = `@`")},
		{"a JavaScript header", around(`headers: { Authorization: "Bearer @" },`)},
		{"a JavaScript template", around("Authorization: `Bearer @`")},
		{"kubectl config set-credentials", around("kubectl config set-credentials robot --token=@")},
		{"kubectl with quotes", around(`kubectl --token "@" get pods`)},
		{"oc login", around("oc login https://api:6443 --token=@")},
		{"helm", around("helm --kube-token @ list")},
		{"PowerShell", around(`$env:TOKEN = "@"`)},
		{"cmd", around("set TOKEN=@\r\n")},
		{"fish", around("set -x TOKEN @")},
		{"a .env file", around("# secrets\nTOKEN='@'\nOTHER=1\n")},
		{"a here document", around("cat <<EOF > token\n@\nEOF\n")},
		{"an echo", around("echo -n '@' | base64")},
		{"a properties file", around("kubernetes.token = @\n")},
		{"an INI file", around("[kubernetes]\ntoken = @\nserver = https://10.0.0.1\n")},
		{"a TOML file", around("[auth]\nbearer_token = \"@\"\n")},
		{"an XML element", around("<token>@</token>")},
		{"an XML attribute", around(`<auth token="@"/>`)},
		{"Markdown code", around("The token is `@`.")},
		{"a Markdown block", around("```\n@\n```")},
		{"a Markdown table", around("| name | token |\n|---|---|\n| robot | @ |\n")},
		{"a CSV line", around("robot,shop,@,2026")},
		{"brackets", around("[@]")},
		{"braces", around("{@}")},
		{"a list of JSON", around(`["@"]`)},
		{"an escaped quote", around(`\"@\"`)},
		{"guillemets", around("«@»")},
		{"German quotes", around("„@“")},
		{"a quote that is not closed", around(`"@`)},
		{"a quote at the end alone", around(`@"`)},
		{"a semicolon", around("@;")},
		{"a question mark", around("Is it @?")},
		{"an exclamation mark", around("@!")},
		{"a colon", around("token:@:")},
		{"a tilde fence", around("~~~\n@\n~~~\n")},
		{"tmux panes", aroundLines("@│", "│\n", 50)},
		{"frames on both sides", func(t string) string { return "│ " + lines(t, " │\n│ ", 50) + " │" }},
		{"a carriage return alone", aroundLines("@\r", "\r", 60)},
		{"a vertical tab", aroundLines("@", "\v", 60)},
		{"line separators", aroundLines("@", "\u2028", 60)},
		{"a word joiner", aroundLines("@", "\u2060", 30)},
		{"marks of direction", around("\u202a@\u202c")},
		{"colours of ls", around("\x1b[0m\x1b[01;32m@\x1b[0m\x1b[K")},
		{"hex", func(t string) string { return hex.EncodeToString([]byte(t)) }},
		{"a slash that JSON escapes", func(t string) string { return `{"url":"https:\/\/10.0.0.1\/?token=` + t + `"}` }},
		{"a NUL at the end", around("@\x00")},
		{"a comment in YAML", around("# token: @\n")},
		{"a line comment", around("// @")},
		{"Windows Terminal", aroundLines("PS C:\\> kubectl create token robot\r\n@\r\nPS C:\\> ", "\r\n", 120)},
	}
	return all
}

func kubeconfig(t string) string {
	return "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: c, user: robot}\nusers:\n- name: robot\n  user:\n    token: " + t + "\n"
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

func websocket(t string) string {
	return "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(t))
}

func quoteTwice(text string) string { return strconv.Quote(strconv.Quote(text)) }

func forms() []form {
	var all []form
	for _, w := range wrappings() {
		all = append(all, form{w.name, w.wrap})
	}
	all = append(all, encodedForms()...)
	all = append(all, documentForms()...)
	return append(all, shellForms()...)
}

// readBack says what became of a token: "read", "not found", or what is wrong.
func readBack(text, token string) string {
	found, err := Read([]byte(text))
	switch {
	case err != nil:
		return "not found"
	case len(found) != 1:
		return fmt.Sprintf("%d tokens", len(found))
	case found[0].Damage != nil:
		return "damaged: " + found[0].Damage.String()
	case found[0].Raw() != token:
		return "another token"
	}
	return "read"
}

func TestTokensAreReadInEveryForm(t *testing.T) {
	// These say less than is needed to find a token, or nobody writes one so.
	missed := map[string]bool{"hex": true}
	random := testRandom()
	all := forms()
	if len(all) < 170 {
		t.Errorf("%d forms, want at least 170", len(all))
	}
	for _, f := range all {
		for _, s := range shapes() {
			text := s.make(random)
			if got := readBack(f.wrap(text), text); got != "read" && (!missed[f.name] || got != "not found") {
				t.Errorf("%s (%s): %s", f.name, s.name, got)
			}
		}
	}
	if len(all)-len(missed) < 165 {
		t.Errorf("%d forms are read, want at least 165", len(all)-len(missed))
	}
}

// No good token is ever called damaged, whatever is around it.
func TestGoodTokensAreNeverCalledDamaged(t *testing.T) {
	random := testRandom()
	all, kinds := forms(), shapes()
	read, shorter := 0, 0
	const tries = 3000
	for range tries {
		text := kinds[random.IntN(len(kinds))].make(random)
		wrapped, names := text, []string{}
		for range 1 + random.IntN(3) {
			f := all[random.IntN(len(all))]
			if f.name == "padded, and in the other alphabet" && len(names) > 0 {
				continue // it decodes tokens, and would destroy anything else
			}
			wrapped, names = f.wrap(wrapped), append(names, f.name)
		}
		switch got := readBack(wrapped, text); got {
		case "read":
			read++
		case "not found":
		case "another token", "2 tokens": // a wrapped signature begins like that of a shorter key
			shorter++
		default:
			t.Errorf("%s: %s", strings.Join(names, ", then "), got)
		}
	}
	if shorter > tries/500 || read < tries*9/10 {
		t.Errorf("of %d tokens %d are read, and of %d only the beginning", tries, read, shorter)
	}
}
