//! node run: the agent's container, started with docker (control reference §5.8).

use super::super::args::Run;
use super::super::{Failed, Output, World};
use super::enforce_root;
use super::program;
use datastore::config::{ClientFiles, Config};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long the container may take to say that its agent runs.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the agent's container says when it runs.
const STARTED: &str = "Calico node started successfully";
/// Where the container finds what is mounted for it.
const KEY: &str = "/etc/calico/certs/key.pem";
const CERTIFICATE: &str = "/etc/calico/certs/cert.crt";
const AUTHORITY: &str = "/etc/calico/certs/ca_cert.crt";
const FELIX_CONFIG: &str = "/etc/calico/felix.cfg";

pub(super) fn run(args: &Run, world: &World<'_>) -> Result<Output, Failed> {
    let failed = |reason: String| Failed(format!("Error executing command: {reason}"));
    let command = command(args, world).map_err(failed)?;
    let line = command.join(" ");
    if args.dryrun {
        let mut text = format!("Use the following command to start the calico/node container:\n\n{line}\n\n");
        text += if args.init_system {
            "Use the following command to stop the calico/node container:\n\ndocker stop calico-node\n\n"
        } else {
            "If you are running calico/node in an init system, use the --init-system flag\nto display the appropriate \
             start and stop commands.\n"
        };
        return Ok(Output::success(text));
    }
    enforce_root()?;
    program::find("docker", world).map_err(failed)?;
    prepare_host(world)?;
    world.say("Removing old calico-node container (if running).\n");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // there may be none
    program::run(&words(&["docker", "rm", "-f", "calico-node"]), world);
    world.say(&format!(
        "Running the following command to start calico-node:\n\n{line}\n\nImage may take a short time to download if it \
         is not available locally.\n"
    ));
    let ran = program::run(&command, world);
    if let Some(reason) = ran.failure {
        let told: String = String::from_utf8_lossy(&ran.output).lines().map(|line| format!("\n | {line}")).collect();
        return Err(failed(format!("{reason}{told}")));
    }
    world.say("Container started, checking progress logs.\n\n");
    follow(world).map_err(failed)?;
    Ok(Output::success(String::new()))
}

/// The command that starts the container.
fn command(args: &Run, world: &World<'_>) -> Result<Vec<String>, String> {
    check_address(args.ip.as_deref(), "--ip", IpAddr::is_ipv4)?;
    check_address(args.ip6.as_deref(), "--ip6", IpAddr::is_ipv6)?;
    let asn = args.asn.as_ref().map(|text| match api::validate::parse_as_number(text) {
        Ok(asn) => Ok(asn.to_string()),
        Err(_) => Err(format!("invalid AS Number specified: {text}")),
    });
    let asn = asn.transpose()?;
    if !["bird", "gobgp", "none"].contains(&args.backend.as_str()) {
        return Err(format!("unknown backend '{}'", args.backend));
    }
    check_method(&args.ip_autodetection_method)?;
    check_method(&args.ip6_autodetection_method)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .map(|name| name.trim().to_lowercase())
            .filter(|name| !name.is_empty())
            .ok_or("unable to determine node name")?,
    };
    let config = Config::load(Some(&args.config), world.variable);
    let config = config.map_err(|error| format!("invalid config file: {error}"))?;
    let ClientFiles { ca, certificate, key } = ClientFiles::load(Some(&args.config), world.variable)
        .map_err(|error| format!("invalid config file: {error}"))?;

    let mut environment = BTreeMap::from([
        ("NODENAME", name),
        ("CALICO_NETWORKING_BACKEND", args.backend.clone()),
        ("CALICO_MANAGE_CNI", "false".to_owned()),
        ("ETCD_ENDPOINTS", config.etcd_endpoints.join(",")),
        ("ETCD_DISCOVERY_SRV", config.etcd_discovery_srv.unwrap_or_default()),
    ]);
    let given = [("AS", asn), ("IP", args.ip.clone()), ("IP6", args.ip6.clone())];
    environment.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let methods = [
        ("IP_AUTODETECTION_METHOD", &args.ip_autodetection_method),
        ("IP6_AUTODETECTION_METHOD", &args.ip6_autodetection_method),
    ];
    let methods = methods.into_iter().filter(|(_, method)| *method != "first-found");
    environment.extend(methods.map(|(name, method)| (name, method.clone())));
    if args.no_default_ippools {
        environment.insert("NO_DEFAULT_POOLS", "true".to_owned());
    }

    let log_dir = args.log_dir.display().to_string();
    let mut volumes = vec![(log_dir, "/var/log/calico")];
    let same = ["/var/run/calico", "/var/lib/calico", "/lib/modules", "/run"];
    volumes.extend(same.map(|path| (path.to_owned(), path)));
    volumes.extend(args.felix_config.iter().map(|path| (path.display().to_string(), FELIX_CONFIG)));
    let mut mount = |variable, file: String, place| {
        environment.insert(variable, String::from(place));
        volumes.push((file, place));
    };
    if let Some(file) = ca {
        mount("ETCD_CA_CERT_FILE", file, AUTHORITY);
    }
    if let (Some(certificate), Some(key)) = (certificate, key) {
        mount("ETCD_KEY_FILE", key, KEY);
        mount("ETCD_CERT_FILE", certificate, CERTIFICATE);
    }

    let mut command = vec!["docker", "run", "--net=host", "--privileged", "--name=calico-node"];
    command.extend(if args.init_system { &["--rm"] as &[&str] } else { &["-d", "--restart=always"] });
    let mut command: Vec<String> = command.into_iter().map(str::to_owned).collect();
    command.extend(environment.into_iter().flat_map(|(name, value)| ["-e".to_owned(), format!("{name}={value}")]));
    command.extend(volumes.into_iter().flat_map(|(host, place)| ["-v".to_owned(), format!("{host}:{place}")]));
    command.push(args.node_image.clone());
    Ok(command)
}

fn check_address(given: Option<&str>, flag: &str, fits: fn(&IpAddr) -> bool) -> Result<(), String> {
    let Some(text) = given.filter(|text| *text != "autodetect") else { return Ok(()) };
    let address: IpAddr = text.parse().map_err(|_| format!("invalid IP address specified: {text}"))?;
    if fits(&address) { Ok(()) } else { Err(format!("{flag} is wrong IP version")) }
}

fn check_method(method: &str) -> Result<(), String> {
    let expressions = method.strip_prefix("interface=").or_else(|| method.strip_prefix("skip-interface="));
    if let Some(expressions) = expressions {
        let wrong = expressions.split(',').find(|expression| regex::Regex::new(expression).is_err());
        return wrong
            .map_or(Ok(()), |wrong| Err(format!("invalid interface regex specified for IP autodetection: {wrong}")));
    }
    let known = method == "first-found" || method.strip_prefix("can-reach=").is_some_and(|host| !host.is_empty());
    if known { Ok(()) } else { Err(format!("invalid IP autodetection method: {method}")) }
}

/// Prepares the kernel for what the agent cannot do from within a container.
fn prepare_host(world: &World<'_>) -> Result<(), Failed> {
    if (world.variable)("CALICO_CTL_CONTAINER").is_some_and(|it| !it.is_empty()) {
        return Ok(());
    }
    let modules = ["modprobe", "-a", "xt_set", "ip6_tables"].map(str::to_owned);
    world.say(&format!("Running command to load modules: {}\n", modules.join(" ")));
    // they may be built in
    program::run(&modules, world);
    world.say("Enabling IPv4 forwarding\n");
    let set = |path: &str, value: &str| fs::write(world.proc.join("sys/net").join(path), value);
    set("ipv4/ip_forward", "1").map_err(|error| Failed(format!("ERROR: Could not enable ipv4 forwarding: {error}")))?;
    if world.proc.join("sys/net/ipv6").exists() {
        world.say("Enabling IPv6 forwarding\n");
        set("ipv6/conf/all/forwarding", "1")
            .map_err(|error| Failed(format!("ERROR: Could not enable ipv6 forwarding: {error}")))?;
    }
    world.say("Increasing conntrack limit\n");
    if let Err(error) = set("netfilter/nf_conntrack_max", "1000000") {
        world.say(&format!("WARNING: Could not set nf_contrack_max ({error}). This may have an impact at scale.\n"));
    }
    Ok(())
}

/// Shows the container's log until it says that the agent runs.
fn follow(world: &World<'_>) -> Result<(), String> {
    let docker = program::find("docker", world)?;
    let mut child = Command::new(docker)
        .args(["logs", "--follow", "calico-node"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unable to check calico/node logs: {error}"))?;
    let output = child.stdout.take().expect("it is piped");
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok());
    });
    let until = Instant::now() + PATIENCE;
    let started = loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                world.say(&format!("{line}\n"));
                if line == STARTED {
                    break Ok(());
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                break Err(format!(
                    "calico/node did not say within {} s that it runs, check logs for details",
                    PATIENCE.as_secs()
                ));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                break Err("calico/node has terminated, check logs for details".to_owned());
            }
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    drop(lines);
    let _ = reader.join();
    started
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Shell;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const DRY: &str = "node run --dryrun --name=n1 --config=@/none";

    #[test]
    fn what_would_be_run() {
        let shell = Shell::new().with("ETCD_ENDPOINTS", "http://10.0.0.1:2379");
        let output = shell.run(&format!("{DRY} --ip=192.168.10.11 --as=1.10 --no-default-ippools"), "");
        let command = "docker run --net=host --privileged --name=calico-node -d --restart=always -e AS=65546 -e \
                       CALICO_MANAGE_CNI=false -e CALICO_NETWORKING_BACKEND=bird -e ETCD_DISCOVERY_SRV= -e \
                       ETCD_ENDPOINTS=http://10.0.0.1:2379 -e IP=192.168.10.11 -e NODENAME=n1 -e NO_DEFAULT_POOLS=true \
                       -v /var/log/calico:/var/log/calico -v /var/run/calico:/var/run/calico -v \
                       /var/lib/calico:/var/lib/calico -v /lib/modules:/lib/modules -v /run:/run \
                       quay.io/calico/node:latest";
        let expect = format!(
            "Use the following command to start the calico/node container:\n\n{command}\n\nIf you are running calico/node \
             in an init system, use the --init-system flag\nto display the appropriate start and stop commands.\n"
        );
        assert_eq!((output.stdout, output.stderr, output.code), (expect, String::new(), 0));
        let output = shell.run(&format!("{DRY} --init-system --node-image=x/y:1 --felix-config=/f"), "");
        assert!(output.stdout.contains("--name=calico-node --rm -e CALICO_MANAGE_CNI"), "{}", output.stdout);
        assert!(output.stdout.contains(" -v /f:/etc/calico/felix.cfg x/y:1\n\nUse the following command to stop"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let shell = Shell::new().with("ETCD_ENDPOINTS", "http://10.0.0.1:2379");
        for (flags, reason) in [
            ("--ip=foo", "invalid IP address specified: foo"),
            ("--ip=fd00::1", "--ip is wrong IP version"),
            ("--ip6=10.0.0.1", "--ip6 is wrong IP version"),
            ("--as=70000.1", "invalid AS Number specified: 70000.1"),
            ("--backend=x", "unknown backend 'x'"),
            ("--ip-autodetection-method=first", "invalid IP autodetection method: first"),
            (
                "--ip-autodetection-method=interface=eth.*,[",
                "invalid interface regex specified for IP autodetection: [",
            ),
        ] {
            shell.fails(&format!("{DRY} {flags}"), "", &format!("Error executing command: {reason}\n"));
        }
    }

    /// With a docker that does as it is told.
    #[test]
    fn the_container_is_started_and_followed() {
        let shell = Shell::new().with("ETCD_ENDPOINTS", "http://10.0.0.1:2379").with("PATH", "@/bin:/bin:/usr/bin");
        for (file, text) in [("sys/net/ipv4/ip_forward", "0"), ("sys/net/netfilter/nf_conntrack_max", "1")] {
            shell.write(file, text);
        }
        let script = "#!/bin/sh\necho \"$@\" >> \"${0%/*}/calls\"\n[ \"$1\" = logs ] && echo hello && echo 'Calico node \
                      started successfully' && exec sleep 100\nexit 0\n";
        shell.write("bin/docker", script);
        shell.write("bin/modprobe", "#!/bin/sh\n");
        for name in ["docker", "modprobe"] {
            let path = shell.folder.path().join("bin").join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
        }
        let output = shell.run("node run --name=n1 --config=@/none", "");
        assert_eq!((output.stderr.as_str(), output.code), ("", 0));
        assert!(output.stdout.ends_with("checking progress logs.\n\nhello\nCalico node started successfully\n"));
        let calls = fs::read_to_string(shell.folder.path().join("bin/calls")).expect("calls");
        let calls: Vec<&str> = calls.lines().collect();
        assert_eq!((calls[0], calls[2]), ("rm -f calico-node", "logs --follow calico-node"));
        assert!(calls[1].starts_with("run --net=host --privileged --name=calico-node -d"), "{calls:?}");
        let forward = fs::read_to_string(shell.folder.path().join("sys/net/ipv4/ip_forward"));
        assert_eq!(forward.expect("the setting"), "1");
    }
}
