use super::*;

const NETSHOOT: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: pod1, labels: {app: one}}
spec:
  nodeName: k8s-w1
  containers: [{name: c, image: nicolaka/netshoot, command: [tail], args: ["-f", "/dev/null"]}]
  terminationGracePeriodSeconds: 0
"#;

#[test]
fn the_walkthroughs_pod_is_read() {
    let Manifests { pods, warnings } = parse(NETSHOOT).unwrap();
    assert_eq!(warnings, [""; 0]);
    let pod = &pods[0];
    assert_eq!(pod.name.to_string(), "default/pod1");
    assert_eq!(pod.node.as_deref(), Some("k8s-w1"));
    assert_eq!(pod.container.command, ["tail", "-f", "/dev/null"]);
    assert_eq!(pod.container.image, "nicolaka/netshoot");
    assert_eq!((pod.grace_period, pod.restart), (0, RestartPolicy::Always));
    assert_eq!(pod.manifest["metadata"]["labels"]["app"], "one");
}

#[test]
fn documents_are_read_in_order_and_empty_ones_dropped() {
    let stream = format!("---\n{NETSHOOT}---\n---\n{}", NETSHOOT.replace("pod1", "pod2"));
    let names: Vec<String> = parse(&stream).unwrap().pods.iter().map(|pod| pod.name.name.clone()).collect();
    assert_eq!(names, ["pod1", "pod2"]);
}

#[test]
fn kubernetes_defaults() {
    let pod = parse("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: i}]}}");
    let pod = pod.unwrap().pods.remove(0);
    assert_eq!((pod.node, pod.grace_period), (None, 30));
    assert_eq!(pod.container.command, ["sleep", "infinity"]);
}

#[test]
fn a_field_without_meaning_warns() {
    let stream = NETSHOOT.replace("  nodeName", "  dnsPolicy: Default\n  nodeName");
    assert_eq!(parse(&stream).unwrap().warnings, ["pod default/pod1 spec.dnsPolicy: has no meaning in a lab, ignored"]);
    let stream = NETSHOOT.replace("image: nicolaka/netshoot", "image: i, tty: true");
    assert_eq!(
        parse(&stream).unwrap().warnings,
        ["pod default/pod1 spec.containers[0].tty: has no meaning in a lab, ignored"]
    );
}

#[test]
fn each_mistake_names_object_field_and_reason() {
    for (from, to, expect) in [
        ("nodeName", "nodename", "pod default/pod1 spec.nodename: unknown field"),
        ("image:", "imago:", "pod default/pod1 spec.containers[0].imago: unknown field"),
        (
            "command: [tail]",
            "command: tail",
            "pod default/pod1 spec.containers[0].command: is \"tail\", must be a list of strings",
        ),
        (
            "command: [tail]",
            "command: [7]",
            "pod default/pod1 spec.containers[0].command: is [7], must be a list of strings",
        ),
        ("nodeName: k8s-w1", "nodeName: 7", "pod default/pod1 spec.nodeName: is 7, must be a string"),
        (
            "terminationGracePeriodSeconds: 0",
            "terminationGracePeriodSeconds: -1",
            "pod default/pod1 spec.terminationGracePeriodSeconds: is -1, must be a number of at least 0",
        ),
        ("name: pod1", "name: Pod_1", "document 1 metadata.name: \"Pod_1\" must be a DNS name in lower case"),
        ("{name: pod1, ", "{", "document 1 metadata.name: is required"),
        ("app: one", "app: 1", "document 1 metadata.labels: is {\"app\":1}, must be a map of strings"),
        ("kind: Pod", "kind: Deployment", "document 1 kind: is \"Deployment\", a lab applies only \"Pod\""),
        ("apiVersion: v1", "apiVersion: v2", "document 1 apiVersion: is \"v2\", a Pod's is \"v1\""),
        ("spec:", "specs:", "pod default/pod1 spec: is required"),
    ] {
        assert!(NETSHOOT.contains(from));
        let Invalid(mistakes) = parse(&NETSHOOT.replace(from, to)).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake == expect), "{from} → {to}: {mistakes:#?}");
    }
}

#[test]
fn a_pod_twice_and_no_pod_at_all_are_mistakes() {
    let Invalid(mistakes) = parse(&format!("{NETSHOOT}---{NETSHOOT}")).unwrap_err();
    assert_eq!(mistakes, ["pod default/pod1 metadata.name: the stream has this pod twice"]);
    assert_eq!(parse("---\n").unwrap_err(), Invalid(vec!["no pod in the input".to_owned()]));
}
