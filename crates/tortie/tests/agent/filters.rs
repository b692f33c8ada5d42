//! BGPFilters: what a peer teaches and is taught goes by them, as BIRD 2 does it with the same rules.

use crate::bird::Bird;
use crate::cluster::{Cluster, SOON, eventually, throughout};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

#[test]
fn filters_act_and_one_that_is_missing_holds_the_peer_down() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    let protocol = "protocol bgp p0 from peer { local 192.168.10.9 as 65001; neighbor 192.168.10.1 as 64512; }";
    let bird = Bird::start(cluster.host(9), protocol);
    let spec = r#"{"node":"n1","peerIP":"192.168.10.9","asNumber":65001,"filters":["f"]}"#;
    let head = r#""kind":"BGPPeer","apiVersion":"projectcalico.org/v3","metadata":{"name":"router"}"#;
    cluster.put("bgppeers/router", &format!(r#"{{{head},"spec":{spec}}}"#));
    one.start_agent();
    let why = "bgppeer router: there is no filter f, so there is no session";
    one.says_of("192.168.10.9", &["Idle", why], SOON);
    one.logs(why, SOON);
    one.shows(&["node", "status"], &["192.168.10.9", "Idle", why], SOON);
    throughout(Duration::from_secs(2), || bird.lacks("172.16.1.0/24"));
    // with the filter comes the session, and what it lets through
    let filter = |import: Value, export: Value| {
        let spec = json!({"importV4": import, "exportV4": export});
        cluster.apply(&object("f", &spec).to_string());
    };
    let on = |action: &str| json!([{"cidr": "10.99.0.0/16", "matchOperator": "Equal", "action": action}]);
    filter(on("Reject"), json!([]));
    eventually(SOON, || bird.has("172.16.1.0/24", &["BGP.as_path: 64512"]));
    one.established(&["Node_192_168_10_9"], SOON);
    one.learns(&[], SOON);
    // a change of the filter needs no other session
    let described = bird.ask("show protocols p0");
    filter(on("Accept"), json!([{"action": "Reject"}]));
    one.learns(&["10.99.0.0/16"], SOON);
    eventually(SOON, || bird.lacks("172.16.1.0/24"));
    assert_eq!(bird.ask("show protocols p0"), described, "the session is the same");
    filter(json!([{"interface": "eth*", "action": "Reject"}]), json!([{"source": "RemotePeers", "action": "Reject"}]));
    one.learns(&[], SOON);
    eventually(SOON, || bird.has("172.16.1.0/24", &[]));
    cluster.ctl(&["delete", "bgpfilter", "f"], "");
    one.says_of("192.168.10.9", &["Idle", why], SOON);
    eventually(SOON, || bird.lacks("172.16.1.0/24"));
}

fn object(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "BGPFilter", "metadata": {"name": name}, "spec": spec})
}

/// Numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).expect("a place")]
    }

    /// One time in so many.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

const NETS: [&str; 7] =
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "172.16.0.0/16", "172.16.1.0/24", "172.16.7.0/24", "0.0.0.0/0"];
const COMMUNITIES: [&str; 4] = ["65000:1", "65000:2", "65000:1:2", "64512:7:7"];

/// One rule, as Calico has it and as BIRD 2 has it.
struct Rule {
    calico: Value,
    /// The condition, and what is done then; for the session of one kind.
    bird: [String; 2],
}

/// Makes a rule; `[internal, external]` of BIRD's.
fn rule(random: &mut Random) -> Rule {
    let mut calico = json!({});
    let mut conditions: Vec<String> = Vec::new();
    let mut only = None;
    if random.one_in(2) {
        let net = *random.of(&NETS);
        let least: u64 = net.split('/').nth(1).and_then(|length| length.parse().ok()).expect("a length");
        let (operator, sign) = *random.of(&[("Equal", "="), ("NotEqual", "!="), ("In", "~"), ("NotIn", "!~")]);
        calico["cidr"] = net.into();
        calico["matchOperator"] = operator.into();
        if operator.ends_with("In") && random.one_in(2) {
            let least = least + random.below(33 - least);
            let most = least + random.below(33 - least);
            calico["prefixLength"] = json!({"min": least, "max": most});
            conditions.push(format!("net {sign} [ {net}{{{least},{most}}} ]"));
        } else {
            conditions.push(format!("net {sign} {net}"));
        }
    }
    if random.one_in(5) {
        calico["source"] = "RemotePeers".into();
        conditions.push("source ~ [ RTS_BGP ]".to_owned());
    }
    if random.one_in(6) {
        let pattern = *random.of(&["eth0", "eth*", "tunl*", "*"]);
        calico["interface"] = pattern.into();
        conditions.push(format!("ifname != \"\" && ifname ~ \"{pattern}\""));
    }
    if random.one_in(5) {
        let kind = usize::from(random.one_in(2));
        calico["peerType"] = (*random.of(&[["iBGP", "eBGP"][kind]])).into();
        only = Some(kind);
    }
    if random.one_in(4) {
        let community = *random.of(&COMMUNITIES);
        calico["communities"] = json!({"values": [community]});
        conditions.push(format!("{} ~ {}", pair(community), list(community)));
    }
    if random.one_in(5) {
        let path = *random.of(&[&[65001_u32] as &[u32], &[65001, 65002], &[65002], &[65001, 65003, 65002]]);
        calico["asPathPrefix"] = json!(path);
        let words: Vec<String> = path.iter().map(u32::to_string).collect();
        conditions.push(format!("bgp_path ~ [= {} * =]", words.join(" ")));
    }
    if random.one_in(6) {
        let priority = *random.of(&[1024_u32, 2_147_483_547, 500]);
        calico["priority"] = priority.into();
        conditions.push(format!("bgp_local_pref = {}", 2_147_483_647 - priority));
    }
    let accepts = random.one_in(2);
    calico["action"] = if accepts { "Accept" } else { "Reject" }.into();
    let mut done = String::new();
    if accepts && random.one_in(2) {
        let operations: Vec<Value> = (0..=random.below(2)).map(|_| operation(random, &mut done)).collect();
        calico["operations"] = operations.into();
    }
    done += if accepts { "accept;" } else { "reject;" };
    let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" && ") };
    let text = format!("if {condition} then {{ {done} }}\n");
    let bird = [0, 1].map(|kind| if only.is_none_or(|only| only == kind) { text.clone() } else { String::new() });
    Rule { calico, bird }
}

fn operation(random: &mut Random, done: &mut String) -> Value {
    match random.below(3) {
        0 => {
            let community = *random.of(&COMMUNITIES);
            write!(done, "{}.add({}); ", list(community), pair(community)).expect("a text");
            json!({"addCommunity": {"value": community}})
        }
        1 => {
            let path = *random.of(&[&[65010_u32] as &[u32], &[65011, 65012]]);
            for asn in path.iter().rev() {
                write!(done, "bgp_path.prepend({asn}); ").expect("a text");
            }
            json!({"prependASPath": {"prefix": path}})
        }
        _ => {
            let priority = *random.of(&[1024_u32, 500, 2000]);
            write!(done, "bgp_local_pref = {}; ", 2_147_483_647 - priority).expect("a text");
            json!({"setPriority": {"value": priority}})
        }
    }
}

fn pair(community: &str) -> String {
    format!("({})", community.replace(':', ", "))
}

fn list(community: &str) -> &'static str {
    if community.matches(':').count() == 1 { "bgp_community" } else { "bgp_large_community" }
}

/// What the routes' source announces: prefix, communities, and more of the path.
fn feed(random: &mut Random) -> String {
    let mut routes = "protocol static feed { ipv4; ".to_owned();
    let mut filter = "filter fed {\n".to_owned();
    for prefix in [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.128/25",
        "10.2.0.0/16",
        "172.16.0.0/16",
        "172.16.1.7/32",
        "172.16.1.128/26",
        "172.16.7.0/24",
        "172.16.7.64/26",
        "192.0.2.0/24",
        MARKER,
    ] {
        write!(routes, "route {prefix} blackhole; ").expect("a text");
        let mut done = String::new();
        for community in COMMUNITIES {
            if prefix != MARKER && random.one_in(3) {
                write!(done, "{}.add({}); ", list(community), pair(community)).expect("a text");
            }
        }
        for asn in [65002, 65003] {
            if prefix != MARKER && random.one_in(3) {
                write!(done, "bgp_path.prepend({asn}); ").expect("a text");
            }
        }
        writeln!(filter, "if net = {prefix} then {{ {done} accept; }}").expect("a text");
    }
    let filter = filter + "reject;\n}\n";
    let mut text = format!("{routes}}}\n{filter}");
    for (name, neighbour) in [("one", "192.168.10.1"), ("two", "192.168.10.2")] {
        writeln!(
            text,
            "protocol bgp {name} from peer {{ local 192.168.10.9 as 65001; neighbor {neighbour} as 64512; \
             ipv4 {{ import none; export filter fed; }}; }}"
        )
        .expect("a text");
    }
    text
}

/// A route that tells by a community which round it is.
const MARKER: &str = "10.255.0.0/16";

/// The configuration of a BIRD that does what node n1 shall do.
fn reference(import: &[Rule], export: &[Rule], round: usize) -> String {
    const OWN: &str = "if net = 10.99.0.0/16 && source = RTS_STATIC then reject;\n";
    const UNDECIDED: &str = "if net = 172.16.1.0/24 && source = RTS_STATIC then accept;\nif net ~ 172.16.1.0/24 then { if \
                             bgp_local_pref > 2147482623 then accept; reject; }\nif net ~ 172.16.0.0/16 then accept;\nreject;\n";
    let mark = format!("if net = {MARKER} then {{ bgp_community.add((64999, {round})); accept; }}\n");
    let rules = |rules: &[Rule], kind: usize| rules.iter().map(|rule| rule.bird[kind].clone()).collect::<String>();
    let prefer = "if source != RTS_BGP then bgp_local_pref = 2147482623;\n";
    let mut text = "protocol static own { ipv4; route 172.16.1.0/24 blackhole; }\n".to_owned();
    write!(text, "filter imp {{\n{}accept;\n}}\n", rules(import, 1)).expect("a text");
    for (name, kind) in [("expi", 0), ("expe", 1)] {
        write!(text, "filter {name} {{\n{OWN}{prefer}{mark}{}{UNDECIDED}}}\n", rules(export, kind)).expect("a text");
    }
    for (name, neighbour, asn, import, export) in [
        ("feeder", "192.168.10.9", 65001, "filter imp", "none"),
        ("inner", "192.168.10.8", 64512, "none", "filter expi"),
        ("outer", "192.168.10.7", 65007, "none", "filter expe"),
    ] {
        writeln!(
            text,
            "protocol bgp {name} from peer {{ neighbor {neighbour} as {asn}; ipv4 {{ import {import}; export {export}; }}; }}"
        )
        .expect("a text");
    }
    text
}

/// What a collector has been told by a peer: each prefix with its attributes.
fn told(bird: &Bird, protocol: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut routes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in bird.ask(&format!("show route protocol {protocol} all")).lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) && first.contains('/') {
            current = first.to_owned();
            routes.entry(current.clone()).or_default();
        } else if let Some((name, value)) = line.trim().split_once(": ")
            && ["BGP.as_path", "BGP.community", "BGP.large_community", "BGP.local_pref"].contains(&name)
        {
            // the order of communities says nothing
            let values: Vec<&str> = if name.ends_with("community") { value.split(") ").collect() } else { vec![value] };
            let attributes = routes.get_mut(&current).expect("a route comes first");
            attributes.extend(values.into_iter().map(|value| format!("{name} {}", value.trim_end_matches(')'))));
        }
    }
    routes
}

/// Random filters, here and in a BIRD 2 that has the same: who hears of both is told the same.
#[test]
fn random_filters_do_as_in_bird() {
    let seed = std::env::var("FILTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    eprintln!("FILTER_SEED={seed}");
    let rounds: usize = std::env::var("FILTER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(24);
    let mut random = Random(seed);
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    let _feeder = Bird::start(cluster.host(9), &feed(&mut random));
    let collect = |own: &str, asn: u32| {
        let mut text = String::new();
        for (name, neighbour) in [("ours", "192.168.10.1"), ("birds", "192.168.10.2")] {
            writeln!(
                text,
                "protocol bgp {name} from peer {{ local {own} as {asn}; neighbor {neighbour} as 64512; ipv4 {{ import all; \
                 export none; }}; }}"
            )
            .expect("a text");
        }
        text
    };
    let internal = Bird::start(cluster.host(8), &collect("192.168.10.8", 64512));
    let external = Bird::start(cluster.host(7), &collect("192.168.10.7", 65007));
    let bird = Bird::start(cluster.host(2), &reference(&[], &[], 0));
    let object_of = |import: &[Rule], export: &[Rule], round: usize| {
        let mark = json!({
            "cidr": MARKER, "matchOperator": "Equal", "action": "Accept",
            "operations": [{"addCommunity": {"value": format!("64999:{round}")}}],
        });
        let calico = |rules: &[Rule]| rules.iter().map(|rule| rule.calico.clone()).collect::<Vec<_>>();
        let export = [vec![mark], calico(export)].concat();
        object("f", &json!({"importV4": calico(import), "exportV4": export})).to_string()
    };
    cluster.apply(&object_of(&[], &[], 0));
    for (name, address, asn) in
        [("a", "192.168.10.9", 65001), ("b", "192.168.10.8", 64512), ("c", "192.168.10.7", 65007)]
    {
        cluster.apply(&format!(
            "{{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {{name: {name}}}, spec: {{node: n1, peerIP: \
             {address}, asNumber: {asn}, filters: [f]}}}}"
        ));
    }
    one.start_agent();
    let mut judged = BTreeSet::new();
    for round in 0..=rounds {
        let mut rules = |first: bool| -> Vec<Rule> {
            if first { Vec::new() } else { (0..=random.below(3)).map(|_| rule(&mut random)).collect() }
        };
        let (mut import, export) = (rules(round == 0), rules(round == 0));
        // the marker always gets in
        import
            .retain(|rule| rule.calico["action"] == "Accept" || rule.calico.as_object().is_some_and(|it| it.len() > 1));
        import.insert(
            0,
            Rule {
                calico: json!({"cidr": MARKER, "matchOperator": "Equal", "action": "Accept"}),
                bird: [0, 1].map(|_| format!("if net = {MARKER} then accept;\n")),
            },
        );
        let calico = object_of(&import, &export, round);
        cluster.apply(&calico);
        let text = reference(&import, &export, round);
        bird.configure(&text);
        let marked = format!("BGP.community (64999,{round}");
        for (collector, who) in [(&internal, "internal"), (&external, "external")] {
            let same = || {
                let (ours, birds) = (told(collector, "ours"), told(collector, "birds"));
                for (whose, routes) in [("ours", &ours), ("BIRD's", &birds)] {
                    let marker = routes.get(MARKER).cloned().unwrap_or_default();
                    if !marker.contains(&marked) {
                        return Err(format!("round {round}, {who}: {whose} is not that far: {marker:?}"));
                    }
                }
                if ours == birds {
                    Ok(ours)
                } else {
                    Err(format!("round {round}, {who}:\nours  {ours:#?}\nBIRD's {birds:#?}\n{calico}\n{text}"))
                }
            };
            judged.insert(format!("{:?}", eventually(SOON, same)));
        }
    }
    assert!(judged.len() > rounds / 2, "the filters make a difference: {} answers", judged.len());
}
