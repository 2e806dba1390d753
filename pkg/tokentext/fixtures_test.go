package tokentext

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// shape is a kind of token that Kubernetes makes.
type shape struct {
	name      string
	algorithm string
	signature int // bytes
	bound     bool
}

func shapes() []shape {
	return []shape{
		{"legacy RS256", "RS256", 256, false},
		{"legacy without kid", "RS512", 384, false},
		{"bound RS256", "RS256", 256, true},
		{"bound RS256 of a long key", "RS256", 512, true},
		{"bound ES256", "ES256", 64, true},
		{"bound ES384", "ES384", 96, true},
		{"legacy ES512", "ES512", 132, false},
	}
}

// make returns a token like those of Kubernetes; nobody here looks at the
// signature, so that it is noise. Names of random length move the ends of the
// parts.
func (s shape) make(random *rand.Rand) string {
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[random.IntN(36)]
		}
		return string(b)
	}
	header := map[string]any{"alg": s.algorithm}
	if !strings.Contains(s.name, "without") {
		header["kid"] = word(43)
	}
	namespace, account := word(1+random.IntN(20)), word(1+random.IntN(20))
	claims := map[string]any{"sub": "system:serviceaccount:" + namespace + ":" + account}
	if s.bound {
		claims["iss"], claims["aud"] = "https://kubernetes.default.svc", []string{"https://kubernetes.default.svc"}
		claims["exp"], claims["iat"] = 1800000000, 1799990000
		claims["kubernetes.io"] = map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": account, "uid": word(36)}}
	} else {
		claims["iss"] = "kubernetes/serviceaccount"
		claims["kubernetes.io/serviceaccount/namespace"] = namespace
		claims["kubernetes.io/serviceaccount/secret.name"] = account + "-token"
		claims["kubernetes.io/serviceaccount/service-account.name"] = account
	}
	signature := make([]byte, s.signature)
	for i := range signature {
		signature[i] = byte(random.Uint32())
	}
	return part(header) + "." + part(claims) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func part(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// wrapping is a form in which people paste tokens.
type wrapping struct {
	name   string
	wrap   func(token string) string
	where  string
	undone []string
}

func std(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// lines wraps a text as a terminal of that width does.
func lines(text, newline string, width int) string {
	var b strings.Builder
	for len(text) > width {
		end := width
		for !utf8.RuneStart(text[end]) { // no terminal breaks a character
			end--
		}
		b.WriteString(text[:end] + newline)
		text = text[end:]
	}
	return b.String() + text
}

func secretYAML(field, value string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata:\n  name: robot\n  namespace: shop\ntype: kubernetes.io/service-account-token\n" +
		field + ":\n  ca.crt: " + std("-----BEGIN CERTIFICATE-----\nMIIBdjCCAR2gAwIBAgIBADAKBggqhkjOPQQDAjAjMSEwHwYDVQQDDBhrM3Mtc2Vy\n-----END CERTIFICATE-----\n") +
		"\n  namespace: " + std("shop") + "\n  token: " + value + "\n"
}

func secretJSON(name, value string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":"shop"},"type":"kubernetes.io/service-account-token","data":{"namespace":"c2hvcA==","token":%q}}`, name, value)
}

func describe(name, value string) string {
	return "Name:         " + name + "\nNamespace:    shop\nLabels:       <none>\nAnnotations:  kubernetes.io/service-account.name: robot\n" +
		"              kubernetes.io/service-account.uid: 6c1b8c47-3d0c-4e7b-8a4a-0b8ad6ef8f1c\n\nType:  kubernetes.io/service-account-token\n\n" +
		"Data\n====\nca.crt:     1107 bytes\nnamespace:  4 bytes\ntoken:      " + value + "\n"
}

func wrappings() []wrapping {
	const where = "Secret shop/robot, key token"
	same := func(token string) string { return token }
	return []wrapping{
		{"as it is", same, "", nil},
		{"with a line break after it, as files have", func(t string) string { return t + "\n" }, "", nil},
		{"with white space around it", func(t string) string { return " \t\r\n" + t + "  \r\n" }, "", nil},
		{"after Bearer", func(t string) string { return "Bearer " + t }, "", []string{undonePrefix}},
		{"after bearer in lower case", func(t string) string { return "bearer " + t }, "", []string{undonePrefix}},
		{"as a header", func(t string) string { return "Authorization: Bearer " + t + "\r\n" }, "", []string{undonePrefix}},
		{"in a curl command", func(t string) string {
			return `curl -k -H "Authorization: Bearer ` + t + `" https://10.0.0.1:6443/api`
		}, "", []string{undoneQuotes, undonePrefix}},
		{"in a curl command with line breaks", func(t string) string {
			return "curl -k \\\n  -H 'Authorization: Bearer " + lines(t, "\n", 79) + "' \\\n  https://10.0.0.1:6443/api"
		}, "", []string{undoneEscapes, undoneSpaces, undoneQuotes, undonePrefix}},
		{"as kubectl's flag", func(t string) string { return "kubectl --token=" + t + " get pods -A" }, "", []string{undonePrefix}},
		{"as a variable", func(t string) string { return `export TOKEN="` + t + `"` }, "", []string{undoneQuotes, undonePrefix}},
		{"in quotes", func(t string) string { return `"` + t + `"` }, "", []string{undoneQuotes}},
		{"in single quotes", func(t string) string { return `'` + t + `'` }, "", []string{undoneQuotes}},
		{"in backticks", func(t string) string { return "`" + t + "`" }, "", []string{undoneQuotes}},
		{"in angle brackets", func(t string) string { return "<" + t + ">" }, "", []string{undoneQuotes}},
		{"in curly quotes", func(t string) string { return "“" + t + "”" }, "", []string{undoneCurly}},
		{"in single curly quotes after Bearer", func(t string) string { return "‘Bearer " + t + "’" }, "", []string{undoneCurly, undonePrefix}},
		{"wrapped", func(t string) string { return lines(t, "\n", 80) }, "", []string{undoneSpaces}},
		{"wrapped with CRLF", func(t string) string { return lines(t, "\r\n", 76) }, "", []string{undoneSpaces}},
		{"wrapped and indented", func(t string) string { return "    " + lines(t, "\n    ", 64) }, "", []string{undoneSpaces}},
		{"wrapped, line breaks made spaces", func(t string) string { return lines(t, " ", 64) }, "", []string{undoneSpaces}},
		{"wrapped after Bearer", func(t string) string { return "Authorization: Bearer " + lines(t, "\n", 58) }, "", []string{undoneSpaces, undonePrefix}},
		{"wrapped after Bearer, line breaks made spaces", func(t string) string { return "Bearer " + lines(t, " ", 58) }, "", []string{undoneSpaces, undonePrefix}},
		{"with escaped line breaks", func(t string) string { return `"` + t + `\n"` }, "", []string{undoneEscapes, undoneSpaces, undoneQuotes}},
		{"with lines continued by backslashes", func(t string) string { return lines(t, "\\\n", 70) }, "", []string{undoneEscapes, undoneSpaces}},
		{"with zero-width spaces", func(t string) string { return lines(t, "\u200b", 50) }, "", []string{undoneInvisible}},
		{"with soft hyphens", func(t string) string { return lines(t, "\u00ad", 50) }, "", []string{undoneInvisible}},
		{"after a byte order mark", func(t string) string { return "\ufeff" + t }, "", []string{undoneInvisible}},
		{"with no-break spaces", func(t string) string { return "\u00a0" + lines(t, "\u00a0", 70) + "\u00a0" }, "", []string{undoneSpaces}},
		{"with typographic hyphens", func(t string) string { return strings.ReplaceAll(t, "-", "\u2011") }, "", []string{undoneHyphens}},
		{"in colour", func(t string) string { return "\x1b[32m" + t + "\x1b[0m" }, "", []string{undoneColours}},
		{"in UTF-16, as PowerShell writes files", func(t string) string {
			var b strings.Builder
			b.WriteString("\xff\xfe")
			for _, c := range []byte(t + "\r\n") {
				b.Write([]byte{c, 0})
			}
			return b.String()
		}, "", []string{undoneUTF16}},
		{"with the mark of zsh", func(t string) string { return t + "%" }, "", []string{undoneMark}},
		{"at the end of a sentence", func(t string) string { return t + "." }, "", []string{undonePunctation}},
		{"before a comma", func(t string) string { return `"` + t + `",` }, "", []string{undoneQuotes, undonePunctation}},
		{"in prose", func(t string) string { return "Use this one (" + t + ") with curl; it works!" }, "", []string{undoneAround}},
		{"padded, and in the other alphabet", func(t string) string {
			parts := strings.Split(t, ".")
			for i := range parts {
				raw, _ := base64.RawURLEncoding.DecodeString(parts[i])
				parts[i] = base64.StdEncoding.EncodeToString(raw)
			}
			return strings.Join(parts, ".")
		}, "", nil},
		{"among the variables of a shell", func(t string) string { return "HOME=/root\nKUBE_TOKEN=" + t + "\nPATH=/bin\n" }, "", []string{undonePrefix}},
		{"above another command", func(t string) string { return "token: " + t + "\nlogout\n" }, "", []string{undonePrefix}},
		{"wrapped, above another command", func(t string) string { return "token: " + lines(t, "\n", 73) + "\nlogout\n" }, "", []string{undoneSpaces, undonePrefix}},
		{"in an address", func(t string) string { return "https://10.0.0.1/api?access_token=" + t + "&pretty=1" }, "", []string{undoneAround}},
		{"in an address in quotes", func(t string) string { return `curl "https://10.0.0.1/api?x=` + t + `"` }, "", []string{undoneAround}},
		{"in URL encoding", func(t string) string { return "Bearer%20" + t }, "", []string{undoneURL, undonePrefix}},
		{"in a form", func(t string) string { return "Authorization=Bearer+" + t }, "", []string{undonePrefix}},
		{"in a cookie", func(t string) string { return url.QueryEscape(`{"token":"` + t + `"}`) }, "field token", []string{undoneURL}},
		{"in HTML", func(t string) string { return "<code>" + t + "</code>" }, "", nil},
		{"in a mail that quotes it", func(t string) string { return "> " + lines(t, "\n> ", 60) }, "", []string{undoneMargins, undoneSpaces}},
		{"beside another pane", func(t string) string { return lines(t, "│\n", 60) + "│" }, "", []string{undoneMargins, undoneSpaces}},
		{"in a terminal's frame of what is pasted", func(t string) string { return "\x1b[200~" + t + "\x1b[201~" }, "", []string{undoneColours}},
		{"after the title of a window", func(t string) string { return "\x1b]0;me@host\x07" + t }, "", []string{undoneColours}},
		{"in a Secret as JSON in JSON", func(t string) string { return strconv.Quote(secretJSON("robot", std(t))) }, where, []string{undoneJSON, undoneBase64}},
		{"in JSON that we know nothing of", func(t string) string { return `{"resources":[{"attributes":{"token":"` + t + `"}}]}` }, "", nil},
		{"in an object of another kind", func(t string) string {
			return "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: " + t + "\n"
		}, "", []string{undoneAround}},
		{"in base64", std, "", []string{undoneBase64}},
		{"in base64, wrapped", func(t string) string { return lines(std(t), "\n", 76) }, "", []string{undoneSpaces, undoneBase64}},
		{"in base64 of a line with its end", func(t string) string { return std(t + "\n") }, "", []string{undoneBase64}},
		{"in base64 without padding", func(t string) string { return strings.TrimRight(std(t), "=") }, "", []string{undoneBase64}},
		{"in base64 for URLs", func(t string) string { return base64.URLEncoding.EncodeToString([]byte(t)) }, "", []string{undoneBase64}},
		{"in base64 twice", func(t string) string { return std(std(t)) }, "", []string{undoneBase64, undoneTwice}},
		{"in base64 with Bearer", func(t string) string { return std("Bearer " + t) }, "", []string{undoneBase64, undonePrefix}},
		{"in base64 after a name", func(t string) string { return "  token: " + std(t) }, "", []string{undonePrefix, undoneBase64}},
		{"in base64 in quotes", func(t string) string { return "“" + std(t) + "”" }, "", []string{undoneCurly, undoneBase64}},
		{"in a Secret as YAML", func(t string) string { return secretYAML("data", std(t)) }, where, []string{undoneBase64}},
		{"in a Secret as YAML, indented", func(t string) string {
			return "  " + strings.ReplaceAll(strings.TrimSpace(secretYAML("data", std(t))), "\n", "\n  ")
		}, where, []string{undoneBase64}},
		{"in a Secret with CRLF", func(t string) string { return strings.ReplaceAll(secretYAML("data", std(t)), "\n", "\r\n") }, where, []string{undoneBase64}},
		{"in a Secret with a folded value", func(t string) string {
			return secretYAML("data", ">-\n    "+lines(std(t), "\n    ", 64))
		}, where, []string{undoneBase64}},
		{"in a Secret's stringData", func(t string) string { return secretYAML("stringData", t) }, where, nil},
		{"in a Secret whose data nobody encoded", func(t string) string { return secretYAML("data", t) }, where, nil},
		{"in a Secret that encodes twice", func(t string) string { return secretYAML("data", std(std(t))) }, where, []string{undoneBase64, undoneTwice}},
		{"in a Secret as JSON", func(t string) string { return secretJSON("robot", std(t)) }, where, []string{undoneBase64}},
		{"in a Secret as JSON with curly quotes", func(t string) string {
			return strings.ReplaceAll(secretJSON("robot", std(t)), `"`, "”")
		}, where, []string{undoneCurly, undoneBase64}},
		{"in a Secret in a List", func(t string) string { return `{"kind":"List","items":[` + secretJSON("robot", std(t)) + `]}` }, where, []string{undoneBase64}},
		{"in a Secret as JSON that a terminal wrapped", func(t string) string { return lines(secretJSON("robot", std(t)), "\n", 80) }, where, []string{undoneSpaces, undoneBase64}},
		{"in the data of a Secret alone", func(t string) string { return `{"ca.crt":"YQ==","namespace":"c2hvcA==","token":"` + std(t) + `"}` }, "field token", []string{undoneBase64}},
		{"in one line of a Secret as JSON", func(t string) string { return `    "token": "` + std(t) + `",` }, "", []string{undoneQuotes, undonePrefix, undoneBase64}},
		{"as kubectl describe shows it", func(t string) string { return describe("robot", t) }, where, nil},
		{"as kubectl describe shows it in a terminal", func(t string) string {
			return strings.Replace(describe("robot", "@"), "@", lines(t, "\n", 68), 1)
		}, where, []string{undoneSpaces}},
		{"as kubectl describe shows it, wrapped and indented", func(t string) string {
			return "  " + strings.ReplaceAll(strings.Replace(describe("robot", "@"), "@", lines(t, "\n", 68), 1), "\n", "\r\n  ")
		}, where, []string{undoneSpaces}},
		{"in the last line of kubectl describe", func(t string) string { return "token:      " + t + "\nca.crt:     1107 bytes" }, "", []string{undonePrefix}},
		{"in a kubeconfig", func(t string) string {
			return "apiVersion: v1\nkind: Config\nclusters: []\nusers:\n- name: robot\n  user:\n    token: " + t + "\n"
		}, "kubeconfig, users[0].user.token", nil},
		{"as kubectl create token -o json prints it", func(t string) string {
			return `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","status":{"token":"` + t + `","expirationTimestamp":"2026-11-22T01:00:00Z"}}`
		}, "TokenRequest, status.token", nil},
		{"as a credential plugin prints it", func(t string) string {
			return `{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"` + t + `"}}`
		}, "ExecCredential, status.token", nil},
	}
}
