"""One libtorrent session: fetches a torrent from when its standard input ends, or seeds it.

It marks by a file when it has all of it, and goes on seeding until it is ended.

    libtorrent_node.py TORRENT DIRECTORY MARKER seed|fetch [PEER …]
"""

import pathlib
import sys

import libtorrent as lt

PORT = 6881
# More than there are nodes: nobody waits for a slot.
UNCHOKED = 100


def settings(seeding: bool) -> dict:
    found = lt.high_performance_seed() if seeding else lt.default_settings()
    found.update({
        "listen_interfaces": f"0.0.0.0:{PORT}", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
        "enable_natpmp": False, "enable_incoming_utp": False, "enable_outgoing_utp": False,
        "in_enc_policy": int(lt.enc_policy.disabled), "out_enc_policy": int(lt.enc_policy.disabled),
        "allow_multiple_connections_per_ip": False, "min_announce_interval": 1, "connection_speed": 200,
        "unchoke_slots_limit": UNCHOKED, "unchoke_interval": 1,
        "optimistic_unchoke_interval": 1, "rate_limit_ip_overhead": False, "torrent_connect_boost": 100,
        "connections_limit": 500, "smooth_connects": False, "min_reconnect_time": 1, "close_redundant_connections": False,
        "user_agent": "swarm",
        "alert_mask": int(lt.alert.category_t.status_notification | lt.alert.category_t.error_notification)})
    return found


def main(torrent: str, directory: str, marker: str, role: str, *peers: str):
    session = lt.session(settings(role == "seed"))
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = directory
    parameters.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    if role == "seed":
        parameters.flags |= lt.torrent_flags.seed_mode | lt.torrent_flags.super_seeding
    else:
        # It wants nothing yet: a super-seeding seeder says what it has only ten seconds after a peer has come.
        parameters.flags |= lt.torrent_flags.default_dont_download
    parameters.peers = [(peer, PORT) for peer in peers]
    handle = session.add_torrent(parameters)
    done = role == "seed"
    if not done:
        sys.stdin.read()
        handle.prioritize_files([4])
    while not done:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            # Wanting nothing counts as finished, too.
            done = done or isinstance(alert, lt.torrent_finished_alert) and (
                handle.status().total_done == parameters.ti.total_size())
            if alert.category() & lt.alert.category_t.error_notification:
                print(alert.message(), flush=True)
    pathlib.Path(marker).touch()
    while True:
        session.wait_for_alert(60_000)
        session.pop_alerts()


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
