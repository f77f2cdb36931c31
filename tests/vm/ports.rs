//! Published ports of a real machine: what reaches the guest, and when they are free again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::host::{any_host, kill, lives, wait_until};

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// Echoes datagrams with what they came from.
const ECHO: &str = "use Socket; socket S,AF_INET,SOCK_DGRAM,0; bind S,pack_sockaddr_in(53,INADDR_ANY) or die; \
                    while(my $f=recv S,$d,9999,0){send S,$d.\" from \".inet_ntoa((unpack_sockaddr_in $f)[1]),0,$f}";

#[test]
fn published_ports_lead_to_the_guest_as_long_as_it_runs() {
    let host = any_host();
    host.forget("ports");
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (web, late, datagrams) =
        (free(), free(), UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let publish = |address: SocketAddr, guest: &str| format!("{}:{guest}", address.port());
    host.ok(&["start", "ports", "-d", "-p", &publish(web, "80"), "-p", &publish(datagrams, "53/udp")]);
    // Nobody listens in the guest: no connection that ends well.
    assert_eq!(get(web).unwrap_err().kind(), ErrorKind::ConnectionReset);
    host.inside(
        "ports",
        &format!(
            "mkdir -p /srv/www && echo hello from the guest >/srv/www/index.html && \
             setsid /run/mvm/busybox httpd -p 80 -h /srv/www </dev/null >/dev/null 2>&1 && \
             {{ setsid perl -e '{ECHO}' </dev/null >/dev/null 2>&1 & }}"
        ),
    );
    wait_until("the guest's web server", || {
        get(web).is_ok_and(|page| page.ends_with("hello from the guest\n"))
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut answer = [0; 64];
    wait_until("the guest's echo", || {
        client.send_to(b"hello", datagrams).unwrap();
        client.recv(&mut answer).is_ok_and(|length| &answer[..length] == b"hello from 172.16.0.1")
    });

    // While it runs; and what is published leads no way back.
    assert!(get(late).is_err());
    host.ok(&["port", "add", &publish(late, "80"), "ports"]);
    assert!(get(late).unwrap().ends_with("hello from the guest\n"));
    host.ok(&["port", "rm", &late.port().to_string(), "ports"]);
    assert_eq!(TcpStream::connect(late).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let back = format!("! timeout 5 bash -c '</dev/tcp/172.16.0.1/{}' 2>/dev/null", web.port());
    host.inside("ports", &back);
    let seen = host.mvm(&["start", "ports-2", "-d", "-p", &publish(web, "80")]);
    assert!(seen.code == 1 && seen.stderr.contains("is taken by the machine `ports`"), "{seen}");
    assert!(!host.machine("ports-2").exists(), "{seen}");

    // A forwarder that is killed is started again by the next command that starts machines.
    let state = || {
        let seen = host.ok(&["port", "ls", "ports", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&seen.stdout).unwrap();
        let of_web = listed.as_array().unwrap().iter().find(|port| port["host_port"] == web.port());
        of_web.unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(), "open");
    kill("KILL", host.pid("ports", &format!("ports/{}tcp", web.port())));
    wait_until("its end", || state() == "closed");
    host.ok(&["start", "ports", "-d"]);
    assert_eq!(state(), "open");

    let mut open = TcpStream::connect(web).unwrap();
    let forwarder = host.pid("ports", &format!("ports/{}tcp", web.port()));
    kill("KILL", host.pid("ports", "vmm"));
    assert_eq!(open.read(&mut [0; 1]).unwrap_or(0), 0);
    wait_until("the ports' being free", || is_free(web) && UdpSocket::bind(datagrams).is_ok());
    assert!(!lives(forwarder));
    assert_eq!(state(), "stopped");

    // They come back with it, and go with it.
    host.ok(&["start", "ports", "-d"]);
    assert_eq!(state(), "open");
    assert!(!is_free(web));
    host.ok(&["stop", "ports", "--timeout", "60"]);
    assert!(is_free(web));
    host.ok(&["destroy", "ports", "--yes"]);
}
