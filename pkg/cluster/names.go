package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"tokenward.dev/tokenward/pkg/reference"
)

const (
	// namesPage is how many objects are listed at a time, and namesPages how often.
	namesPage, namesPages = 500, 8
	// maxNamesAnswer bounds what a list may bring, in bytes: metadata alone may have
	// 256 KiB an object.
	maxNamesAnswer = 16 << 20
)

// ErrTooLarge is why names could not be listed: there are too many, or too much is said
// of each.
var ErrTooLarge = errors.New("too much to list") //nolint:gochecknoglobals // an error

// Names lists the names of all objects of a kind in a namespace by a list that starts
// now. It keeps nothing else, and holds one object at a time.
func (c *Client) Names(ctx context.Context, kind reference.Kind, namespace string) (map[string]bool, error) {
	resource := map[reference.Kind]string{reference.Secret: "secrets", reference.ConfigMap: "configmaps", reference.ServiceAccount: "serviceaccounts"}[kind]
	if resource == "" {
		return nil, fmt.Errorf("no way to list names of a %s", kind)
	}
	names, left, next := map[string]bool{}, int64(maxNamesAnswer), ""
	for range namesPages {
		request := c.Core.CoreV1().RESTClient().Get().Namespace(namespace).Resource(resource).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Param("limit", strconv.Itoa(namesPage))
		if next != "" {
			request = request.Param("continue", next)
		}
		stream, err := request.Stream(ctx)
		if err != nil {
			return nil, err
		}
		page := &io.LimitedReader{R: stream, N: left}
		next, err = readNames(page, names)
		_ = stream.Close()
		left = page.N
		switch {
		case left == 0:
			return nil, ErrTooLarge
		case err != nil:
			return nil, err
		case next == "":
			return names, nil
		}
	}
	return nil, ErrTooLarge
}

// readNames reads one page, and returns where the next begins.
func readNames(page io.Reader, names map[string]bool) (next string, err error) {
	decoder := json.NewDecoder(page)
	if err := expect(decoder, json.Delim('{')); err != nil {
		return "", err
	}
	for decoder.More() {
		field, err := decoder.Token()
		if err != nil {
			return "", err
		}
		switch field {
		case "metadata":
			var list struct {
				Continue string `json:"continue"`
			}
			err = decoder.Decode(&list)
			next = list.Continue
		case "items":
			err = readItems(decoder, names)
		default:
			var other json.RawMessage
			err = decoder.Decode(&other)
		}
		if err != nil {
			return "", err
		}
	}
	return next, expect(decoder, json.Delim('}'))
}

func readItems(decoder *json.Decoder, names map[string]bool) error {
	start, err := decoder.Token()
	if err != nil || start == nil { // null: there is none
		return err
	}
	if start != json.Delim('[') {
		return fmt.Errorf("list of names: items is no list")
	}
	for decoder.More() {
		var item struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := decoder.Decode(&item); err != nil {
			return err
		}
		names[item.Metadata.Name] = true
	}
	return expect(decoder, json.Delim(']'))
}

func expect(decoder *json.Decoder, want json.Delim) error {
	found, err := decoder.Token()
	if err == nil && found != want {
		err = fmt.Errorf("list of names: found %v, want %v", found, want)
	}
	return err
}
