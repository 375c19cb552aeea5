//! The test bed itself: everything else rests on guests that answer.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use crate::guest::Shape;
use crate::lab::Lab;

const SHORT: Duration = Duration::from_secs(10);

/// Boots two guests and loses the way into one for a while.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let shape = Shape::default();
    let [mut a, mut b] = lab.boot(folder, [("a", &shape), ("b", &shape)])?;
    let release = a.succeed("uname -r", SHORT)?;
    println!("  a runs {release}");
    let slow = a.run("sleep 100", Duration::from_secs(1))?;
    ensure!(slow.status == 137, "a program that hangs was not killed in the guest: {slow:?}");
    a.reconnect()?;
    ensure!(a.succeed("echo again", SHORT)? == "again", "a is not the same after its host came back");
    ensure!(b.succeed("echo here", SHORT)? == "here", "b does not answer");
    Ok(())
}
