# The container's image: the apps' program and nothing else.
mkdir /tmp/container
install -m 755 /usr/local/bin/machine /tmp/container/machine
tar -C /tmp/container -cf /tmp/container.tar machine
podman import --quiet --change 'ENTRYPOINT ["/machine"]' /tmp/container.tar machine:1
systemctl start outside-servers
