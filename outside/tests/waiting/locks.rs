//! What is asked for, held and waited for: locks, permits, notices.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Barrier, Mutex, Notify, OnceCell, RwLock, Semaphore};
use tokio::time::{Instant, interval, sleep};

use crate::{forever, known, settle, spawn as task};

pub struct Shop {
    orders: Mutex<u32>,
    prices: RwLock<[u64; 4]>,
    desks: Semaphore,
    bell: Notify,
    tables: Arc<Semaphore>,
    start: Barrier,
    menu: OnceCell<String>,
}

async fn keep_orders(shop: Arc<Shop>) {
    let mut guard = shop.orders.lock().await;
    *guard += 1;
    forever().await; // #keep_orders
    drop(guard);
}

async fn mutex(shop: Arc<Shop>) -> u32 {
    let guard = shop.orders.lock().await; // #mutex
    *guard
}

async fn keep_prices(shop: Arc<Shop>) {
    let mut prices = shop.prices.write().await;
    prices[0] = 1;
    forever().await; // #keep_prices
    drop(prices);
}

async fn read(shop: Arc<Shop>) -> u64 {
    shop.prices.read().await[0] // #read
}

async fn write(shop: Arc<Shop>) {
    shop.prices.write().await[0] += 1; // #write
}

async fn keep_desks(shop: Arc<Shop>) {
    let desk = shop.desks.acquire_many(2).await.unwrap();
    forever().await; // #keep_desks
    drop(desk);
}

async fn permit(shop: Arc<Shop>) {
    let _desk = shop.desks.acquire().await.unwrap(); // #permit
    forever().await;
}

async fn permits(shop: Arc<Shop>) {
    let _desks = shop.desks.acquire_many(2).await.unwrap(); // #permits
    forever().await;
}

async fn keep_tables(tables: Arc<Semaphore>) {
    let table = tables.acquire_owned().await.unwrap();
    forever().await; // #keep_tables
    drop(table);
}

async fn owned_permit(tables: Arc<Semaphore>) {
    let _table = tables.acquire_owned().await.unwrap(); // #owned_permit
    forever().await;
}

async fn notified(shop: Arc<Shop>) {
    shop.bell.notified().await; // #notified
}

async fn barrier(shop: Arc<Shop>) {
    shop.start.wait().await; // #barrier
}

async fn first_menu(shop: Arc<Shop>) {
    let make = || async {
        forever().await; // #make_menu
        String::new()
    };
    shop.menu.get_or_init(make).await; // #first_menu
}

async fn second_menu(shop: Arc<Shop>) {
    shop.menu.get_or_init(|| async { String::new() }).await; // #second_menu
}

async fn sleeps() {
    sleep(Duration::from_secs(86_400)).await; // #sleep
}

async fn ticks() {
    let mut beat = interval(Duration::from_secs(86_400));
    loop {
        beat.tick().await; // #tick
    }
}

async fn sleeps_until() {
    tokio::time::sleep_until(Instant::now() + Duration::from_secs(3_600)).await; // #sleep_until
}

pub async fn spawn() {
    let shop = Arc::new(Shop {
        orders: Mutex::new(0),
        prices: RwLock::new([0; 4]),
        desks: Semaphore::new(2),
        bell: Notify::new(),
        tables: Arc::new(Semaphore::new(1)),
        start: Barrier::new(3),
        menu: OnceCell::new(),
    });
    known("orders", &shop.orders);
    known("prices", &shop.prices);
    known("desks", &shop.desks);
    known("bell", &shop.bell);
    known("tables", &*shop.tables);
    known("start", &shop.start);
    known("menu", &shop.menu);
    task("keep_orders", keep_orders(shop.clone()));
    task("keep_prices", keep_prices(shop.clone()));
    task("keep_desks", keep_desks(shop.clone()));
    task("keep_tables", keep_tables(shop.tables.clone()));
    task("first_menu", first_menu(shop.clone()));
    settle().await;
    task("mutex", mutex(shop.clone()));
    task("read", read(shop.clone()));
    task("permits", permits(shop.clone()));
    settle().await;
    task("write", write(shop.clone()));
    task("permit", permit(shop.clone()));
    task("owned_permit", owned_permit(shop.tables.clone()));
    task("notified", notified(shop.clone()));
    task("barrier", barrier(shop.clone()));
    task("second_menu", second_menu(shop.clone()));
    task("sleep", sleeps());
    task("tick", ticks());
    task("sleep_until", sleeps_until());
    settle().await;
}
