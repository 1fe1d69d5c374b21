// Resolves each name that it reads and connects at once: says how many addresses there were, and how many were refused.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
)

func main() {
	resolver := net.Resolver{PreferGo: true}
	for names := bufio.NewScanner(os.Stdin); names.Scan(); {
		found, err := resolver.LookupIPAddr(context.Background(), names.Text())
		if err != nil {
			fmt.Println(err)
			continue
		}
		refused := 0
		for _, address := range found {
			if connect(address.IP) == syscall.EPERM {
				refused++
			}
		}
		fmt.Println(len(found), refused)
	}
}

func connect(ip net.IP) error {
	family, to := syscall.AF_INET6, syscall.Sockaddr(nil)
	if v4 := ip.To4(); v4 != nil {
		address := syscall.SockaddrInet4{Port: 443}
		copy(address.Addr[:], v4)
		family, to = syscall.AF_INET, &address
	} else {
		address := syscall.SockaddrInet6{Port: 443}
		copy(address.Addr[:], ip)
		to = &address
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Connect(fd, to)
}
