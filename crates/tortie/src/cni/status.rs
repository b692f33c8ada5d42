//! STATUS: whether an ADD could be served.
//!
//! | code | means |
//! |---|---|
//! | 50 | the configuration asks for what ADD does not do, the datastore does not answer or is not ready, the node's name is unknown, or there is no free address |
//! | 51 | the node is not in the datastore: other nodes know no way to its pods either |

use super::call::Call;
use super::cluster;
use super::error::{CniError, Code};
use super::netconf::NetConf;
use super::{Role, delegate, ipam_plugin};
use api::resource::Kind;

/// Tells whether the plugin can serve; the error says why not.
pub(crate) async fn status(role: Role, call: &Call, conf: &NetConf, input: &[u8]) -> Result<(), CniError> {
    let unavailable =
        |error: CniError| CniError { details: error.msg, ..CniError::new(Code::NOT_AVAILABLE, NOT_READY) };
    conf.require_supported().map_err(unavailable)?;
    let node = conf.node(role).map_err(unavailable)?;
    let client = cluster::connect(conf).await.map_err(unavailable)?;
    cluster::require_ready(&client).await.map_err(unavailable)?;
    match client.get(Kind::Node, "", &node).await {
        Ok(_) => {}
        Err(error) if error.not_found() => {
            let details = format!("{error}: the node agent has not registered it");
            return Err(CniError { details, ..CniError::new(Code::LIMITED_CONNECTIVITY, NOT_READY) });
        }
        Err(error) => return Err(unavailable(error.into())),
    }
    match conf.ipam.plugin.as_str() {
        ipam_plugin::NAME => ipam_plugin::require_room(client.store(), conf, node).await,
        other => delegate::status(other, call, input),
    }
    .map_err(unavailable)
}

const NOT_READY: &str = "the plugin cannot serve ADD";
