// SPDX-License-Identifier: Apache-2.0
// What programs do with the JavaScript package @kubernetes/client-node: javascript.mjs KUBECONFIG IMAGE.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as after } from 'node:timers/promises';
import * as k8s from '@kubernetes/client-node';

const [kubeconfig, image] = process.argv.slice(2);
const namespace = 'javascript';
const kc = new k8s.KubeConfig();
kc.loadFromFile(kubeconfig);
const core = kc.makeApiClient(k8s.CoreV1Api);
const apps = kc.makeApiClient(k8s.AppsV1Api);
const any = k8s.KubernetesObjectApi.makeApiClient(kc);

const patchAs = (form) => k8s.setHeaderOptions('Content-Type', form);
const within = (what, promise, ms = 60_000) =>
    Promise.race([promise, after(ms, null, { ref: false }).then(() => assert.fail(`${what}: not within ${ms} ms`))]);
const text = async (stream) => {
    let all = '';
    for await (const chunk of stream) all += chunk;
    return all;
};
const refused = async (code, call) => {
    const error = await call.then(() => null, (error) => error);
    assert.equal(error?.code, code, `${error}`);
    return JSON.parse(typeof error.body === 'string' ? error.body : JSON.stringify(error.body));
};
const configMap = (name, data) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data });

/** Waits until an informer's cache holds. */
const settled = (informer, what, holds) => within(what, new Promise((resolve) => {
    const look = () => holds() && resolve();
    for (const verb of ['add', 'update', 'delete']) informer.on(verb, look);
    look();
}));

async function informers() {
    const list = () => core.listNamespacedConfigMap({ namespace });
    const informer = k8s.makeInformer(kc, `/api/v1/namespaces/${namespace}/configmaps`, list);
    const seen = [];
    for (const verb of ['add', 'update', 'delete'])
        informer.on(verb, (object) => object.metadata.name === 'one' && seen.push([verb, object.data]));
    await core.createNamespacedConfigMap({ namespace, body: configMap('zero', {}) });
    await informer.start();
    await core.createNamespacedConfigMap({ namespace, body: configMap('one', { a: '1' }) });
    const options = patchAs(k8s.PatchStrategy.MergePatch);
    await core.patchNamespacedConfigMap({ namespace, name: 'one', body: { data: { a: '2' } } }, options);
    await core.deleteNamespacedConfigMap({ namespace, name: 'one' });
    await settled(informer, 'the last change', () => seen.length === 3);
    assert.deepEqual(seen, [['add', { a: '1' }], ['update', { a: '2' }], ['delete', { a: '2' }]]);
    assert.ok(informer.get('zero', namespace) && !informer.get('one', namespace));
    await informer.stop();
}

async function watches() {
    const { metadata } = await core.listNamespacedSecret({ namespace });
    const seen = [];
    const ended = new Promise((resolve, reject) => {
        new k8s.Watch(kc).watch(`/api/v1/namespaces/${namespace}/secrets`,
            { resourceVersion: metadata.resourceVersion, allowWatchBookmarks: true, timeoutSeconds: 1 },
            (phase, object) => seen.push([phase, object.metadata.name]),
            (error) => (error === null || error === k8s.Watch.SERVER_SIDE_CLOSE ? resolve() : reject(error))).catch(reject);
    });
    await core.createNamespacedSecret({ namespace, body: { metadata: { name: 's' }, stringData: { a: 'b' } } });
    await within('the watch ends as asked', ended);
    assert.deepEqual(seen.filter(([phase]) => phase !== 'BOOKMARK'), [['ADDED', 's']]);
    const { data } = await core.readNamespacedSecret({ namespace, name: 's' });
    assert.deepEqual(data, { a: Buffer.from('b').toString('base64') });
}

async function refusals() {
    assert.equal((await refused(404, core.readNamespacedPod({ namespace, name: 'none' }))).reason, 'NotFound');
    await refused(409, core.createNamespacedConfigMap({ namespace, body: configMap('zero', {}) }));
    const wrong = await refused(422, core.createNamespacedConfigMap({ namespace, body: configMap('Not_right', {}) }));
    assert.equal(wrong.details.causes[0].field, 'metadata.name');
}

async function applies() {
    const manifest = {
        apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace },
        spec: {
            replicas: 1, selector: { matchLabels: { app: 'web' } },
            template: {
                metadata: { labels: { app: 'web' } },
                spec: {
                    terminationGracePeriodSeconds: 1,
                    containers: [{
                        name: 'web', image, ports: [{ containerPort: 8080 }],
                        command: ['sh', '-c', 'mkdir /www; hostname > /www/index.html; echo started; exec httpd -f -p 8080 -h /www'],
                        readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 },
                    }],
                },
            },
        },
    };
    const apply = (object, manager, force) =>
        any.patch(object, undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
    assert.equal((await apply(manifest, 'one')).metadata.generation, 1);
    const more = { ...manifest, spec: { replicas: 2 } };
    const conflict = await refused(409, apply(more, 'two', false));
    assert.match(conflict.message, /conflict with "one": \.spec\.replicas/);
    assert.equal((await apply(more, 'two', true)).spec.replicas, 2);
    const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'web' });
    // The controllers write the object meanwhile: no version, no conflict.
    delete scale.metadata.resourceVersion;
    scale.spec.replicas = 1;
    await apps.replaceNamespacedDeploymentScale({ namespace, name: 'web', body: scale });
    assert.equal((await any.read({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace } })).spec.replicas, 1);
    const list = () => core.listNamespacedPod({ namespace, labelSelector: 'app=web' });
    const informer = k8s.makeInformer(kc, `/api/v1/namespaces/${namespace}/pods`, list, 'app=web');
    await informer.start();
    const ready = () => informer.list(namespace).filter((pod) => !pod.metadata.deletionTimestamp
        && pod.status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'));
    await settled(informer, 'one pod is ready', () => informer.list(namespace).length === 1 && ready().length === 1);
    await informer.stop();
    return ready()[0].metadata.name;
}

async function insidePods(pod) {
    const log = new PassThrough();
    const following = await new k8s.Log(kc).log(namespace, pod, 'web', log, { follow: true });
    assert.equal(String((await within('a line of the log', once(log, 'data')))[0]), 'started\n');
    following.abort();
    const [out, err] = [new PassThrough(), new PassThrough()];
    const input = Readable.from(['echo in $((40 + 2)); echo beside >&2; exit 3\n']);
    const status = await within('the command ends', new Promise((resolve, reject) => {
        new k8s.Exec(kc).exec(namespace, pod, 'web', ['sh'], out, err, input, false, resolve).catch(reject);
    }));
    [out, err].forEach((stream) => stream.end());
    assert.deepEqual([await text(out), await text(err)], ['in 42\n', 'beside\n']);
    assert.deepEqual([status.status, status.reason, status.details.causes[0].message], ['Failure', 'NonZeroExitCode', '3']);
    const answer = new PassThrough();
    const request = new PassThrough();
    const socket = await new k8s.PortForward(kc).portForward(namespace, pod, [8080], answer, null, request);
    request.write('GET / HTTP/1.0\r\n\r\n');
    let said = '';
    for await (const chunk of answer) {
        said += chunk;
        if (said.includes(pod)) break;
    }
    assert.match(said, /200 OK/);
    socket.close();
}

async function anyKind() {
    // The library calls the field `default` otherwise.
    const definition = {
        apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: 'boats.javascript.test' },
        spec: {
            group: 'javascript.test', scope: 'Namespaced', names: { plural: 'boats', kind: 'Boat' },
            versions: [{
                name: 'v1', served: true, storage: true,
                schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { size: { type: 'integer', _default: 3 } } } } } },
            }],
        },
    };
    await any.create(definition);
    const established = new Promise((resolve, reject) => {
        new k8s.Watch(kc).watch('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', { timeoutSeconds: 60 },
            (_, object) => object.status?.conditions?.some((c) => c.type === 'Established' && c.status === 'True') && resolve(),
            reject).catch(reject);
    });
    await within('the definition is established', established);
    const boat = { apiVersion: 'javascript.test/v1', kind: 'Boat', metadata: { name: 'b', namespace }, spec: {} };
    const made = await any.create(boat);
    assert.equal(made.spec.size, 3, JSON.stringify(made));
    const custom = kc.makeApiClient(k8s.CustomObjectsApi);
    const at = { group: 'javascript.test', version: 'v1', namespace, plural: 'boats', name: 'b' };
    const patched = await custom.patchNamespacedCustomObject({ ...at, body: [{ op: 'replace', path: '/spec/size', value: 5 }] },
        patchAs(k8s.PatchStrategy.JsonPatch));
    assert.equal(patched.spec.size, 5);
    assert.equal((await any.list('javascript.test/v1', 'Boat', namespace)).items.length, 1);
    await any.delete(definition);
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
let pod;
for (const step of [informers, watches, refusals, async function applying() { pod = await applies(); },
    async function inside() { await insidePods(pod); }, anyKind]) {
    const start = Date.now();
    await step();
    console.log(`${step.name}: ${(Date.now() - start) / 1000} s`);
}
process.exit(0);
