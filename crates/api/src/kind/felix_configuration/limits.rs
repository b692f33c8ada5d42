//! What Calico's schema says of a FelixConfiguration's parameters besides their types.

/// Name of a parameter, keyword, and its value in JSON; null for a limit of the type that this one has not.
pub(super) const LIMITS: &[(&str, &str, &str)] = &[
    ("bpfCTLBLogFilter", "enum", "null"),
    ("bpfConntrackTimeouts", "properties", TIMEOUTS),
    ("bpfMapSizeConntrackCleanupQueue", "minimum", "1"),
    ("dataplaneWatchdogTimeout", "pattern", "null"),
    ("failsafeInboundHostPorts", "items", PROTO_PORT),
    ("failsafeOutboundHostPorts", "items", PROTO_PORT),
    ("featureDetectOverride", "pattern", r#""^([a-zA-Z0-9-_]+=(true|false|),)*([a-zA-Z0-9-_]+=(true|false|))?$""#),
    ("featureGates", "pattern", r#""^([a-zA-Z0-9-_]+=([^=]+),)*([a-zA-Z0-9-_]+=([^=]+))?$""#),
    (
        "healthTimeoutOverrides",
        "items",
        r#"{"type":"object","required":["name","timeout"],"properties":{"name":{"type":"string"},"timeout":{"type":"string"}}}"#,
    ),
    ("iptablesMarkMask", "format", r#""int32""#),
    ("istioDSCPMark", "type", r#""integer""#),
    ("istioDSCPMark", "pattern", r#""^.*""#),
    ("istioDSCPMark", "x-kubernetes-int-or-string", "true"),
    ("istioDSCPMark", "x-kubernetes-preserve-unknown-fields", "null"),
    (
        "kubeNodePortRanges",
        "items",
        r#"{"anyOf":[{"type":"integer"},{"type":"string"}],"pattern":"^.*","x-kubernetes-int-or-string":true}"#,
    ),
    ("liveMigrationRouteConvergenceTime", "pattern", r#""^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$""#),
    ("logActionRateLimit", "pattern", r#""^[1-9]\\d{0,3}/(?:second|minute|hour|day)$""#),
    ("logActionRateLimitBurst", "minimum", "0"),
    ("logActionRateLimitBurst", "maximum", "9999"),
    ("logPrefix", "pattern", r#""^([a-zA-Z0-9%: /_-])*$""#),
    ("nftablesMarkMask", "format", r#""int32""#),
    ("nftablesRefreshInterval", "pattern", "null"),
    ("prometheusMetricsClientAuth", "enum", "null"),
    ("nftablesMode", "x-default", r#""Auto""#),
    ("nodeSelector", "maxLength", "1024"),
    ("routeTableRange", "properties", r#"{"max":{"type":"integer"},"min":{"type":"integer"}}"#),
    ("routeTableRange", "required", r#"["max","min"]"#),
    (
        "routeTableRanges",
        "items",
        r#"{"type":"object","required":["max","min"],"properties":{"max":{"type":"integer"},"min":{"type":"integer"}}}"#,
    ),
];

/// A protocol, a port and perhaps a network.
const PROTO_PORT: &str = r#"{"type":"object","required":["port"],
    "properties":{"net":{"type":"string"},"port":{"type":"integer"},"protocol":{"type":"string"}}}"#;

/// Times of connection tracking, each a duration or `Auto`.
const TIMEOUTS: &str = r#"{
    "creationGracePeriod":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"},
    "genericTimeout":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"},
    "icmpTimeout":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"},
    "tcpEstablished":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"},
    "tcpFinsSeen":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"},
    "tcpResetSeen":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"},
    "tcpSynSent":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"},
    "udpTimeout":{"type":"string","pattern":"^(([0-9]*(\\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$"}}"#;
