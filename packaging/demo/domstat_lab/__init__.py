"""A hypervisor of one's own: a private libvirtd with real guests, for the demo, the tests and the benchmark."""
