//! The QMP client and the drivers above it, against peers that speak the real protocol.

mod client;
mod guests;
mod real;
mod site;

use halcyon_hal::testkit::{conforms, storm, withstands};

#[test]
fn memory_devices_and_bandwidth_keep_the_contract_of_drivers() {
    conforms(site::site);
}

#[test]
fn whatever_goes_wrong_guests_end_as_they_were_or_as_they_were_to_be() {
    withstands(site::site);
}

#[test]
fn random_plans_in_a_storm_end_as_the_old_plan_or_the_new_one() {
    let mut deaths = 0;
    for seed in 0..4 {
        let weather = storm(&mut site::site(), 25, seed);
        println!("{weather:?}");
        assert!(weather.plans > 15 && weather.forward > 0);
        deaths += weather.deaths;
    }
    // How many there are hangs on how long guests take; that there are some shows that it storms.
    assert!(deaths > 3, "{deaths} deaths");
}
