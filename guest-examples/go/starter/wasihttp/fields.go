//go:build wasip1

package wasihttp

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"unsafe"
)

// takeFields turns fields of the host into a header and drops them. It says whether they had room.
func takeFields(fields uint32) (http.Header, bool) {
	scratchLock.Lock()
	defer scratchLock.Unlock()
	lend(scratchBytes())
	fieldsEntries(fields, scratchResult.pointer())
	fit := takeBack()
	dropFields(fields)
	if !fit {
		return http.Header{}, false
	}
	count := int(scratchResult.u32(4))
	header := make(http.Header, count)
	values := make([]string, 0, count)
	// Each is the address and length of its name, then of its value.
	for list := inScratch(scratchResult.u32(0), uint32(16*count)); len(list) > 0; list = list[16:] {
		word := func(i int) uint32 { return binary.LittleEndian.Uint32(list[4*i:]) }
		name := http.CanonicalHeaderKey(string(inScratch(word(0), word(1))))
		value := string(inScratch(word(2), word(3)))
		if have, ok := header[name]; ok {
			header[name] = append(have, value)
			continue
		}
		// Most have one value. Those share an array, cut so that appending to one does not reach the next.
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
	}
	return header, true
}

// Fields that are of one connection and so are the host's business. It would refuse them.
var ofTheConnection = map[string]bool{
	"Connection":        true,
	"Host":              true,
	"Http2-Settings":    true,
	"Keep-Alive":        true,
	"Proxy-Connection":  true,
	"Transfer-Encoding": true,
	"Upgrade":           true,
}

// makeFields makes fields of the host from a header. What the host does not want is left out.
func makeFields(header http.Header) uint32 {
	count, size := 0, 0
	for name, values := range header {
		if ofTheConnection[name] {
			continue
		}
		for _, value := range values {
			count++
			size += 16 + len(name) + len(value)
		}
	}
	if count == 0 {
		return newFields()
	}
	// One block: a list of addresses and lengths, then what they are of.
	block := make([]byte, 16*count, size)
	start := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(block))))
	at := 0
	put := func(text string) {
		binary.LittleEndian.PutUint32(block[at:], start+uint32(len(block)))
		binary.LittleEndian.PutUint32(block[at+4:], uint32(len(text)))
		block = append(block, text...)
		at += 8
	}
	for name, values := range header {
		if ofTheConnection[name] {
			continue
		}
		for _, value := range values {
			put(name)
			put(value)
		}
	}
	fieldsFromList(unsafe.Pointer(unsafe.SliceData(block)), uint32(count), writeResult.pointer())
	if writeResult.u8(0) == 0 {
		return writeResult.u32(4)
	}

	// It refuses all for the sake of one, so find out which.
	fields := newFields()
	for name, values := range header {
		if ofTheConnection[name] {
			continue
		}
		for _, value := range values {
			fieldsAppend(fields, address(name), uint32(len(name)), address(value), uint32(len(value)), writeResult.pointer())
			if writeResult.u8(0) != 0 {
				fmt.Fprintf(os.Stderr, "wasihttp: the host does not take the field %q, which is left out\n", name)
			}
		}
	}
	return fields
}
