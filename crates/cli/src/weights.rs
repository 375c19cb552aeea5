//! Weights of the policy `learned` from a file, or those that come with Halcyon.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use halcyon_policy::learned::{OUTPUTS, embedded_network};
use halcyon_policy::network::MOST_FILE_BYTES;
use halcyon_policy::{Features, Network};

/// The weights in a file; those that come with Halcyon if there is none.
pub(crate) fn read(path: Option<&Path>) -> Result<Network> {
    let Some(path) = path else {
        return embedded_network().context("cannot use the weights that come with Halcyon");
    };
    let tried = || format!("cannot use the weights {}", path.display());
    let bytes = read_whole(path, MOST_FILE_BYTES as u64)?;
    let network = Network::parse(&bytes).with_context(tried)?;
    let network = network.made_for(&Features::digest()).with_context(tried)?;
    let shape = network.shape();
    if (shape.features, shape.host, shape.outputs) != (Features::PER_VM, Features::HOST, OUTPUTS) {
        bail!(
            "cannot use the weights {}: they have other inputs or outputs than the policy `learned`",
            path.display()
        );
    }
    Ok(network)
}

/// A file, and not more of it than it can have.
pub(crate) fn read_whole(path: &Path, most: u64) -> Result<Vec<u8>> {
    let tried = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(tried)?;
    file.take(most + 1).read_to_end(&mut bytes).with_context(tried)?;
    if bytes.len() as u64 > most {
        bail!("{} has more than {most} bytes; it is something else", path.display());
    }
    Ok(bytes)
}
