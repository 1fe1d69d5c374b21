//! What `--allow` names, and the ServiceEntry that says the same.

use std::{fmt, net::IpAddr, str::FromStr};

use enforcer_core::{
    documents::{Judgement, check},
    draft::Draft,
    model::{Host, Namespace, Transport},
    typed::{To, Typed},
};

/// A destination, or many: whatever can be typed and a ServiceEntry can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(Typed);

impl Allowed {
    /// A host, which may be a wildcard.
    pub fn host(host: Host, port: u16, transport: Transport) -> Self {
        let to = To::Host(host);
        Self(Typed { to, port, transport })
    }

    /// An address.
    pub fn address(address: IpAddr, port: u16, transport: Transport) -> Self {
        let to = To::address(address);
        Self(Typed { to, port, transport })
    }

    /// The ServiceEntry that allows it to the workloads of its namespace and of no other.
    pub fn entry(&self, namespace: &str) -> Draft {
        let mut draft = Draft::allowing(&self.0, &Namespace::new(namespace));
        let transport = match self.0.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        draft.name = format!("{}-{transport}-{}", draft.name, self.0.port);
        draft
    }
}

/// As it is written behind `--allow`.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("--allow {text:?} is no destination: {what}");
        let typed = Typed::parse(text, Transport::Tcp).map_err(|what| wrong(&what))?;
        if typed.transport == Transport::Udp && matches!(&typed.to, To::Host(host) if host.is_wildcard()) {
            return Err(wrong(
                "no ServiceEntry can say a wildcard over UDP without allowing every address",
            ));
        }
        let allowed = Self(typed);
        let judged = check("", &allowed.entry("sandbox").text());
        match judged.iter().find(|record| record.verdict != Judgement::Valid) {
            Some(record) => {
                let error = record.errors.first().map_or("", String::as_str);
                let error = error.split_once(": ").map_or(error, |(_, error)| error);
                Err(wrong(&format!("it is not valid ({error})")))
            }
            None => Ok(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_written_as_it_was_read() {
        for text in [
            "packages.example.com:443",
            "*.example.com:443",
            "192.0.2.1:22",
            "192.0.2.0/24:5432",
            "ntp.example.com:123/udp",
            "192.0.2.1:53/udp",
            "[2001:db8::1]:443",
            "[2001:db8::/32]:443/udp",
        ] {
            let allowed: Allowed = text.parse().unwrap();
            assert_eq!(allowed.to_string(), text);
            let name = allowed.entry("sandbox").name;
            assert!(!name.contains(['.', '*', ':', '/']), "{name}");
        }
        for (text, same) in [
            ("Packages.Example.com.:443", "packages.example.com:443"),
            ("192.0.2.7/24:443/tcp", "192.0.2.0/24:443"),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1:443"),
        ] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), same);
        }
    }

    #[test]
    fn what_is_no_destination_is_said_in_one_line() {
        for (text, what) in [
            ("example.com", "has no port"),
            ("example.com:", "from 1 to 65535"),
            ("example.com:0", "from 1 to 65535"),
            ("example.com:70000", "from 1 to 65535"),
            ("https://example.com:443", "no URL"),
            ("2001:db8::1:443", "has brackets"),
            ("[example.com]:443", "between the brackets"),
            (":443", "the host is missing"),
            ("*:443", "stands for many"),
            ("exa mple.com:443", "is not a character"),
            ("my_db:443", "it is not valid"),
            ("*.example.com:443/udp", "wildcard over UDP"),
        ] {
            let error = text.parse::<Allowed>().unwrap_err();
            assert!(error.contains(what) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn entry_of_every_form_is_valid() {
        for text in [
            "a.example.com:443",
            "*.example.com:443",
            "192.0.2.0/24:5/udp",
            "[::1]:1",
        ] {
            let allowed: Allowed = text.parse().unwrap();
            let entry = allowed.entry("sandbox").text();
            for record in check("a.yaml", &entry) {
                assert_eq!(record.verdict, Judgement::Valid, "{entry}\n{:?}", record.errors);
            }
        }
    }
}
