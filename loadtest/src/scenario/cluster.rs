//! A cluster on this machine that people can try things on.

use std::time::Instant;

use loadtest_cluster::Cluster;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::cluster::ClusterArguments;
use crate::report::Outcome;
use crate::run::Failure;

/// Starts it, says how to use it, and ends it when told to.
pub(crate) fn run(arguments: &ClusterArguments) -> Result<Outcome, Failure> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let began = Instant::now();
        let mut terminated = signal(SignalKind::terminate())?;
        let told_to_end = async {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted,
                _ = terminated.recv() => Ok(()),
            }
        };
        tokio::pin!(told_to_end);
        let cluster = tokio::select! {
            cluster = Cluster::start(arguments.settings()) => cluster?,
            ended = &mut told_to_end => return Ok(ended.map(|()| Outcome::Pass)?),
        };
        explain(&cluster, began);
        told_to_end.await?;
        println!("ending it");
        Ok(Outcome::Pass)
    })
}

fn explain(cluster: &Cluster, began: Instant) {
    let secret = cluster.secret_file.display();
    println!("a cluster of {} nodes is ready after {:.1?}\n", cluster.nodes.len(), began.elapsed());
    for (number, node) in cluster.nodes.iter().enumerate() {
        let settings = &node.process.settings;
        println!("node {number}   {}   admin http://{}", settings.url(), settings.admin_listen);
        println!("         log {}", settings.log.display());
    }
    println!("postgres {}", shown(&cluster.postgres_url));
    println!("redis    {}", cluster.redis_url.as_deref().map_or_else(|| "none".to_owned(), shown));
    println!("secret   {secret}\n");
    let Some(first) = cluster.nodes.first() else { return };
    let last = cluster.nodes.last().unwrap_or(first);
    let binary = first.process.settings.binary.display();
    println!("listen on one node, and say something on another:");
    println!("  {binary} tail lobby --user ada --secret-file {secret} --target {}", first.process.settings.url());
    println!("  {binary} send lobby hello --user bob --secret-file {secret} --target {}", last.process.settings.url());
    println!("a token for a client of your own:");
    println!("  {binary} token --user ada --secret-file {secret}");
    println!("\nCtrl-C ends it and removes everything");
}

/// A server's URL without its password.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((account, host)) => {
            let user = account.split(':').next().unwrap_or("");
            format!("{scheme}://{user}@{host}{}", &rest[end..])
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(shown("postgres://me:secret@host:1/app"), "postgres://me@host:1/app");
        assert_eq!(shown("postgres://host:1/app"), "postgres://host:1/app");
    }
}
