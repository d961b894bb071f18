"The same `fetch`, dealt out to two other processes by Dask, with the manifest still exact"
from collections import Counter

from distributed import Client, LocalCluster

from birdclf.download import careful_web, download, fetch_shard, shards
from birdclf.manifest import Manifest, Row, host
from birdclf.catalogue import catalogue
from birdclf.replay import Replay
from birdclf.species import load_species


def rows_of(world, n):
    return [Row(record.scientific, record.source, str(record.number), file_url=world.photo_url(record.number), license='by') for record in world.records[:n]]


def ending(manifest): return {row.id: (row.status, row.reason, row.path, row.sha256) for row in manifest.rows()}


def silent(*_, **options):
    from tqdm import tqdm
    return tqdm(**options, disable=True)


def test_two_workers(tmp_path):
    addresses = tuple(f'127.0.0.{n}' for n in range(2, 10))
    options = dict(trusted=('127.0.0.0/8',), silence=10, seconds=20)
    with Replay(catalogue(load_species(), 4), addresses=addresses, latency=.02) as world:
        with Manifest(tmp_path/'alone', write=True) as alone:
            alone.add(rows_of(world, 200))
            download(alone, careful_web('tests@example.org', **options), bar=silent)
            expected = ending(alone)
        with Manifest(tmp_path/'spread', write=True) as spread:
            spread.add(rows_of(world, 200))
            parts = shards(spread, 2)
            assert sum(map(len, parts)) == 200 and all(parts)
            assert {host(row.file_url) for row in parts[0]}.isdisjoint(host(row.file_url) for row in parts[1])
            with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host='127.0.0.1', dashboard_address=None) as cluster, Client(cluster) as client:
                for future in client.map(fetch_shard, parts, folder=str(spread.folder), contact='tests@example.org', **options): spread.update(future.result(60))
                assert len(client.scheduler_info()['workers']) == 2
            download(spread, careful_web('tests@example.org', **options), bar=silent)
            assert ending(spread) == expected
            assert Counter(status for status, *_ in expected.values())['downloaded'] > 150
            assert all((spread.folder/path).is_file() for _, _, path, _ in expected.values() if path)
