//! What goes wrong.

use std::sync::Arc;

use tokio::time::sleep;

use crate::{dice::Dice, network::Weather, world::World};

/// Breaks one thing after the other, until it is over.
pub(crate) async fn break_things(world: Arc<World>) {
    let dice = world.dice.fork();
    world.network.set_weather(Weather {
        lost: dice.between(0, 12),
        repeated: dice.between(0, 10),
        late: dice.between(0, 15),
    });
    while !world.over.is_cancelled() {
        sleep(dice.millis(500, 8_000)).await;
        let (world, dice) = (Arc::clone(&world), dice.fork());
        // Several things may be broken at a time.
        tokio::spawn(async move { break_one(&world, &dice).await });
    }
}

/// Makes everything whole again.
///
/// # Errors
///
/// When a box does not start.
pub(crate) fn heal(world: &World) -> anyhow::Result<()> {
    world.network.heal();
    for server in &world.servers {
        server.set_clock_wrong_by(0);
        server.set_disk_fails(false);
        server.start()?;
    }
    world.trace.note("healed");
    Ok(())
}

async fn break_one(world: &World, dice: &Dice) {
    let Some(server) = dice.pick(&world.servers) else {
        return;
    };
    let (trace, name) = (&world.trace, server.name());
    match dice.below(6) {
        0 => {
            server.crash();
            pause(world, dice, 200, 30_000).await;
            start(world, server);
        }
        1 => {
            server.stop().await;
            pause(world, dice, 100, 10_000).await;
            start(world, server);
        }
        2 => {
            trace.note(format_args!("{name}: writes fail"));
            server.set_disk_fails(true);
            pause(world, dice, 100, 15_000).await;
            server.set_disk_fails(false);
            trace.note(format_args!("{name}: writes work"));
        }
        3 => {
            let reach = if dice.happens(20) { 3_600_000 } else { 20_000 };
            let wrong = dice.between(0, 2 * reach).cast_signed() - reach.cast_signed();
            trace.note(format_args!("{name}: its clock is wrong by {wrong} ms"));
            server.set_clock_wrong_by(wrong);
        }
        4 => {
            let other = dice.pick(&world.servers).unwrap_or(server);
            trace.note(format_args!("{name} and {} are cut off", other.name()));
            world.network.set_cut(name, other.name(), true);
            pause(world, dice, 500, 40_000).await;
            world.network.set_cut(name, other.name(), false);
            trace.note(format_args!("{name} and {} are joined", other.name()));
        }
        _ => {
            trace.note(format_args!("{name} is alone"));
            for other in &world.servers {
                world.network.set_cut(name, other.name(), true);
            }
            pause(world, dice, 500, 40_000).await;
            for other in &world.servers {
                world.network.set_cut(name, other.name(), false);
            }
            trace.note(format_args!("{name} is back"));
        }
    }
}

/// Waits for a while, or until it is over.
async fn pause(world: &World, dice: &Dice, from: u64, to: u64) {
    let wait = sleep(dice.millis(from, to));
    world.over.run_until_cancelled(wait).await;
}

fn start(world: &World, server: &crate::server::Server) {
    if let Err(error) = server.start() {
        world.violation(format!("{} does not start: {error:#}", server.name()));
    }
}
