//! Long programs of many clients, in random orders with random faults.
//!
//! TORTIE_IPAM_SEED sets the seed of the first program, TORTIE_IPAM_PROGRAMS how many there are; each has the seed
//! after that of the one before it.

use super::call::{Call, Client, Ledger};
use super::judge::Judge;
use super::schedule::{Choice, Decision, State, run};
use super::tiny;
use ipam::Condition;
use std::time::SystemTime;

const HOSTS: [&str; 3] = ["n1", "n2", "n3"];
const POOL: &str = "10.0.0.0/28";
const BLOCKS: [&str; 4] = ["10.0.0.0/30", "10.0.0.4/30", "10.0.0.8/30", "10.0.0.12/30"];

/// A generator of numbers that are random enough: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A program of a host's calls, with some of an operator's.
fn client(random: &mut Random, number: usize) -> Client {
    let host = HOSTS[number % HOSTS.len()];
    let mut held: Vec<String> = Vec::new();
    let mut calls = Vec::new();
    for call in 0..2 + random.below(6) {
        let handle = format!("{number}-{call}");
        let condition = random.of(&[Condition::Empty, Condition::Any]);
        calls.push(match random.below(12) {
            0..6 => {
                held.push(handle.clone());
                Call::TryAssign { host, handle, count: 1 + random.below(5) }
            }
            6 => {
                held.push(handle.clone());
                let address = format!("10.0.0.{}", random.below(16)).parse().unwrap();
                Call::AssignIp { host, handle, address }
            }
            7 => Call::LetGo { host: random.of(&HOSTS), condition },
            8 => match random.below(3) {
                0 => Call::LetGoOfPool { cidr: random.of(&[POOL, BLOCKS[0]]) },
                _ => Call::Claim { host, cidr: random.of(&BLOCKS) },
            },
            9 if !held.is_empty() => Call::ReleaseFirst { handle: held[random.below(held.len())].clone() },
            _ if !held.is_empty() => Call::Release { handle: held.remove(random.below(held.len())) },
            _ => Call::LetGo { host, condition },
        });
    }
    calls
}

/// A program of one of Calico's writers.
fn calico(random: &mut Random, number: usize) -> Client {
    let host = HOSTS[number % HOSTS.len()];
    let mut calls = Vec::new();
    for call in 0..1 + random.below(3) {
        calls.push(Call::Calico { host, handle: format!("calico-{number}-{call}"), cidr: random.of(&BLOCKS) });
    }
    calls
}

/// Mostly steps, seldom a fault; Calico's writers here know no other than their end.
fn choose(random: &mut Random, clients: &[Client], state: &State) -> Option<Choice> {
    if state.open.is_empty() {
        return None;
    }
    let client = random.of(&state.open);
    let is_calicos = clients[client].iter().any(Call::is_calicos);
    Some(match random.below(60) {
        0 => Choice::Crash(client),
        1 if !is_calicos => Choice::Lose(client),
        2 if !is_calicos => Choice::Refuse(client),
        _ => Choice::Step(client),
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

#[tokio::test]
async fn long_programs_in_random_orders() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let first = number("TORTIE_IPAM_SEED").unwrap_or(now.as_secs());
    let programs = number("TORTIE_IPAM_PROGRAMS").unwrap_or(100);
    eprintln!("{programs} programs from TORTIE_IPAM_SEED={first} on");
    let cluster = tiny(POOL).await;
    for seed in first..first + programs {
        let mut random = Random(seed);
        let mut clients: Vec<Client> = (0..2 + random.below(5)).map(|number| client(&mut random, number)).collect();
        if random.below(3) == 0 {
            clients.push(calico(&mut random, clients.len()));
        }
        let outcome = run(&cluster.store.memory, &Ledger::default(), &clients, &mut Judge::new(&clients), |state| {
            Decision::Judge(choose(&mut random, &clients, state))
        });
        if let Err(reason) = outcome {
            panic!("TORTIE_IPAM_SEED={seed} TORTIE_IPAM_PROGRAMS=1\n{clients:#?}\n{reason}");
        }
    }
}
