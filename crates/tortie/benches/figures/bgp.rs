//! Many routes through a BGP speaker: one peer sends, one receives, each program in turn stands between them.

use crate::route_server::{RECEIVER_AS, RECEIVER_WIRE, RouteServer, SENDER_AS, SENDER_WIRE};
use crate::sample::{Times, memory, processor_time};
use crate::session::{Session, announcements};
use crate::table::{Aim, head, row};
use crate::world::{Namespace, wire};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How often each is measured.
const RUNS: usize = 3;

/// What a run cost.
struct Cost {
    time: Duration,
    processor: Duration,
    memory: f64,
}

pub(crate) fn run() {
    println!("\n{}", crate::route_server::version());
    for prefixes in [10_000, 100_000] {
        head(&format!("{prefixes} prefixes through a BGP speaker, medians of {RUNS}"));
        let costs: Vec<(RouteServer, Cost)> =
            RouteServer::ALL.into_iter().map(|server| (server, median(server, prefixes))).collect();
        let (_, ours) = &costs[0];
        let aims = if prefixes == 100_000 { [Aim::AtMost(0.5), Aim::AtMost(20.0)] } else { [Aim::None, Aim::None] };
        for (server, cost) in &costs[1..] {
            let name = server.name();
            let [time, memory] = &aims;
            row(
                "first sent → last received",
                "s",
                ours.time.as_secs_f64(),
                Some((name, cost.time.as_secs_f64())),
                time,
            );
            row("peak of resident memory", "MiB", ours.memory, Some((name, cost.memory)), memory);
            let (mine, its) = (ours.processor.as_secs_f64(), cost.processor.as_secs_f64());
            row("processor time", "s", mine, Some((name, its)), &Aim::None);
        }
    }
}

fn median(server: RouteServer, prefixes: usize) -> Cost {
    let (mut times, mut processor, mut peaks) = (Times::default(), Times::default(), Vec::new());
    for _ in 0..RUNS {
        let cost = once(server, prefixes);
        times.push(cost.time);
        processor.push(cost.processor);
        peaks.push(cost.memory);
    }
    peaks.sort_by(f64::total_cmp);
    Cost { time: times.percentile(50), processor: processor.percentile(50), memory: peaks[RUNS / 2] }
}

fn once(server: RouteServer, prefixes: usize) -> Cost {
    let (middle, sender, receiver) = (Namespace::new("speaker"), Namespace::new("sender"), Namespace::new("receiver"));
    for (end, [here, there], name) in [(&sender, SENDER_WIRE, "to-sender"), (&receiver, RECEIVER_WIRE, "to-receiver")] {
        wire(&middle, end, [name, "eth0"], [&format!("{here}/24"), &format!("{there}/24")]);
    }
    let running = server.start(&middle);
    let address = |text: &str| text.parse::<Ipv4Addr>().expect("an address");
    let open =
        |end: &Namespace, asn, [there, own]: [&str; 2]| end.run(|| Session::open(address(own), asn, address(there)));
    let mut receives = open(&receiver, RECEIVER_AS, RECEIVER_WIRE);
    let mut sends = open(&sender, SENDER_AS, SENDER_WIRE);
    let bytes = announcements(prefixes, Some(SENDER_AS), address(SENDER_WIRE[1]));
    let pid = running.process.id();
    let before = processor_time(pid);
    let start = Instant::now();
    let end = std::thread::scope(|scope| {
        let counter = scope.spawn(|| receives.count(prefixes));
        sends.send(&bytes);
        counter.join().expect("every prefix comes")
    });
    Cost { time: end - start, processor: processor_time(pid) - before, memory: memory(pid, "VmHWM") }
}
