//! How a WorkloadEndpoint's name is made of what identifies it (control reference §1.4).

use super::WorkloadEndpointSpec;

/// The four parts of a WorkloadEndpoint's name, in order.
///
/// Each part's own dashes are doubled, then the parts are joined with single ones: node `node-1`, pod `web-0`,
/// interface `eth0` are `node--1-k8s-web--0-eth0`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadEndpointName {
    /// The node.
    pub node: String,
    /// `k8s`, `cni`, `libnetwork`, or another orchestrator.
    pub orchestrator: String,
    /// The pod, the container ID, or the workload, as the orchestrator has it.
    pub workload: String,
    /// The interface inside.
    pub endpoint: String,
}

impl WorkloadEndpointName {
    /// The parts as a `spec` gives them.
    pub fn of(spec: &WorkloadEndpointSpec) -> Self {
        let workload = match spec.orchestrator.as_str() {
            "k8s" => &spec.pod,
            "cni" => &spec.container_id,
            "libnetwork" => &spec.orchestrator,
            _ => &spec.workload,
        };
        WorkloadEndpointName {
            node: spec.node.clone(),
            orchestrator: spec.orchestrator.clone(),
            workload: workload.clone(),
            endpoint: spec.endpoint.clone(),
        }
    }

    /// Joins the parts; fails where one is empty, or begins or ends with a dash.
    pub fn build(&self) -> Result<String, String> {
        let segments = self.parts().map(|(field, part)| match part {
            "" => Err(format!("cannot make the WorkloadEndpoint's name: {field} is not set")),
            part if part.starts_with('-') || part.ends_with('-') => {
                Err(format!("cannot make the WorkloadEndpoint's name: {field} {part:?} begins or ends with a dash"))
            }
            part => Ok(part.replace('-', "--")),
        });
        Ok(segments.into_iter().collect::<Result<Vec<String>, String>>()?.join("-"))
    }

    /// What the names of all endpoints begin with that agree in the leading parts which are set.
    pub fn prefix(&self) -> String {
        self.parts()
            .iter()
            .map_while(|(_, part)| (!part.is_empty()).then(|| format!("{}-", part.replace('-', "--"))))
            .collect()
    }

    /// Takes a name apart again.
    pub fn parse(name: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut rest = name.chars().peekable();
        while let Some(c) = rest.next() {
            if c == '-' && rest.next_if_eq(&'-').is_none() {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.push(c);
            }
        }
        let count = parts.len();
        match <[String; 4]>::try_from(parts) {
            Ok(parts) if parts.iter().all(|part| !part.is_empty()) => {
                let [node, orchestrator, workload, endpoint] = parts;
                Ok(WorkloadEndpointName { node, orchestrator, workload, endpoint })
            }
            _ => Err(format!("{name:?} is not a WorkloadEndpoint's name: {count} parts of 4, or an empty one")),
        }
    }

    fn parts(&self) -> [(&'static str, &str); 4] {
        let third = match self.orchestrator.as_str() {
            "k8s" => "pod",
            "cni" => "containerID",
            _ => "workload",
        };
        [
            ("node", &self.node),
            ("orchestrator", &self.orchestrator),
            (third, &self.workload),
            ("endpoint", &self.endpoint),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(words: [&str; 4]) -> WorkloadEndpointSpec {
        let [orchestrator, node, third, endpoint] = words.map(str::to_owned);
        let mut spec = WorkloadEndpointSpec { orchestrator, node, endpoint, ..WorkloadEndpointSpec::default() };
        match spec.orchestrator.as_str() {
            "k8s" => spec.pod = third,
            "cni" => spec.container_id = third,
            _ => spec.workload = third,
        }
        spec
    }

    #[test]
    fn names_both_ways() {
        for (words, name) in [
            (["k8s", "k8s-node-1", "web-0", "eth0"], "k8s--node--1-k8s-web--0-eth0"),
            (["k8s", "node-1", "my-pod-x", "eth0"], "node--1-k8s-my--pod--x-eth0"),
            (["cni", "node1", "cid1", "eth0"], "node1-cni-cid1-eth0"),
            (["mesos", "n", "w--x", "e"], "n-mesos-w----x-e"),
        ] {
            let parts = WorkloadEndpointName::of(&spec(words));
            assert_eq!(parts.build(), Ok(name.to_owned()));
            assert_eq!(WorkloadEndpointName::parse(name), Ok(parts));
        }
        let libnetwork = WorkloadEndpointName::of(&spec(["libnetwork", "n", "", "ep"]));
        assert_eq!(libnetwork.build(), Ok("n-libnetwork-libnetwork-ep".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn any_name_comes_apart_as_it_was_made(words in proptest::array::uniform4("[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?")) {
            let [node, orchestrator, workload, endpoint] = words;
            let parts = WorkloadEndpointName { node, orchestrator, workload, endpoint };
            proptest::prop_assert_eq!(WorkloadEndpointName::parse(&parts.build().expect("four parts")), Ok(parts));
        }
    }

    #[test]
    fn what_makes_no_name() {
        for words in [["k8s", "", "p", "e"], ["k8s", "n", "", "e"], ["k8s", "-n", "p", "e"], ["k8s", "n", "p-", "e"]] {
            assert!(WorkloadEndpointName::of(&spec(words)).build().is_err(), "{words:?}");
        }
        for name in ["", "foo", "a-b-c", "a-b-c-d-e", "a--b-c-d", "-a-b-c", "a-b-c-"] {
            assert!(WorkloadEndpointName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn prefixes_end_at_the_first_gap() {
        let mut parts = WorkloadEndpointName { node: "n-1".to_owned(), ..WorkloadEndpointName::default() };
        assert_eq!(parts.prefix(), "n--1-");
        parts.workload = "p".to_owned();
        assert_eq!(parts.prefix(), "n--1-");
        parts.orchestrator = "k8s".to_owned();
        assert_eq!(parts.prefix(), "n--1-k8s-p-");
    }
}
