//! The programs that the demo and the tests run.

use std::path::{Path, PathBuf};

use enforcer_bpf_build::find_file;

use crate::process::{find, is_program};

/// A program of the distribution.
#[derive(Debug)]
pub(crate) struct Program {
    /// What is looked for.
    pub(crate) name: &'static str,
    /// The package of Debian and Ubuntu that brings it.
    pub(crate) package: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
    pub(crate) is_there: fn(&Program) -> bool,
}

impl Program {
    /// Whether this machine has it.
    pub(crate) fn is_there(&self) -> bool {
        (self.is_there)(self)
    }
}

/// All that the demo and the tests need.
pub(crate) const PROGRAMS: [Program; 5] = [
    Program {
        name: "ip",
        package: "iproute2",
        why: "the networks of the demo and the tests",
        is_there: in_path,
    },
    Program {
        name: "dnsmasq",
        package: "dnsmasq-base",
        why: "their DNS server; the package starts no service",
        is_there: in_path,
    },
    Program {
        name: "psql",
        package: "postgresql-client",
        why: "the demo's client",
        is_there: in_path,
    },
    Program {
        name: "curl",
        package: "curl",
        why: "another client of the demo",
        is_there: in_path,
    },
    Program {
        name: "initdb",
        package: POSTGRESQL,
        why: "the server that the demo's client reaches; no cluster is created and no service started",
        is_there: |_| postgresql_folder().is_some(),
    },
];

/// What others than ourselves enforce by, for comparison.
pub(crate) const RIVALS: [Program; 2] = [
    Program {
        name: "nft",
        package: "nftables",
        why: "the bench measures nftables beside the enforcer; its service stays off",
        is_there: in_path,
    },
    Program {
        name: "iptables",
        package: "iptables",
        why: "the bench measures iptables and redirection to Envoy beside the enforcer",
        is_there: in_path,
    },
];

/// What fuzzing needs beside Rust.
pub(crate) static FUZZING: Program = Program {
    name: "c++",
    package: "g++",
    why: "compiles libFuzzer",
    is_there: in_path,
};

/// What `vm-test` needs beyond that.
pub(crate) static QEMU: Program = Program {
    name: "qemu-system-x86_64",
    package: "qemu-system-x86",
    why: "the virtual machines of the kernel matrix",
    is_there: in_path,
};

/// What `vm-test --systemd` needs beyond that.
pub(crate) static MACHINE: [Program; 3] = [
    Program {
        name: "mmdebstrap",
        package: "mmdebstrap",
        why: "makes the disk of a whole machine from packages",
        is_there: in_path,
    },
    Program {
        name: "mke2fs",
        package: "e2fsprogs",
        why: "makes that disk's file system",
        is_there: in_path,
    },
    Program {
        name: "ssh",
        package: "openssh-client",
        why: "types commands into that machine",
        is_there: in_path,
    },
];

/// What compiles the dependencies' C code for an image of this machine's architecture.
pub(crate) static NATIVE: Program = Program {
    name: "musl-gcc",
    package: "musl-tools",
    why: "compiles the dependencies' C code for the image",
    is_there: in_path,
};

/// What compiles it for another: the dependencies build without that architecture's headers by clang alone.
pub(crate) static CROSS: Program = Program {
    name: "clang",
    package: "clang",
    why: "compiles the dependencies' C code for the image of another architecture",
    is_there: in_path,
};

/// What signs a release.
pub(crate) static OPENSSL: Program = Program {
    name: "openssl",
    package: "openssl",
    why: "signs the sums of a release",
    is_there: in_path,
};

/// The package that brings PostgreSQL's server.
pub(crate) const POSTGRESQL: &str = "postgresql";

fn in_path(program: &Program) -> bool {
    find(program.name).is_some()
}

/// Installed, or unpacked by `setup`.
pub(crate) fn find_anywhere(program: &Program) -> bool {
    let unpacked = |folder| find_file(&format!("{folder}/{}", program.name));
    in_path(program) || ["/usr/sbin", "/usr/bin"].into_iter().find_map(unpacked).is_some()
}

/// The folder with `initdb` and `postgres`: Debian keeps them out of `PATH`, one folder a version.
pub(crate) fn postgresql_folder() -> Option<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten();
    let packaged = versions.map(|version| version.path().join("bin"));
    let in_path = find("initdb").and_then(|path| path.parent().map(Path::to_owned));
    packaged.chain(in_path).find(|folder| {
        ["initdb", "postgres"]
            .iter()
            .all(|name| is_program(&folder.join(name)))
    })
}
