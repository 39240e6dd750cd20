{{/* What the spec of every pod begins with. Takes root; place: nodeSelector and the like; selects: what
its like are chosen by, for them to be spread. */}}
{{- define "seedsweep.podSpec" -}}
serviceAccountName: {{ include "seedsweep.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int .root.Values.podSecurity.runAsUser }}
  runAsGroup: {{ int .root.Values.podSecurity.runAsGroup }}
  fsGroup: {{ int .root.Values.podSecurity.fsGroup }}
  # A large cache is not walked through at every start.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- range $key := list "priorityClassName" "runtimeClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $.place $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .place.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  {{- $like := dict "labelSelector" (dict "matchLabels" $.selects) }}
  - {{- toYaml (ternary . (merge $like .) (hasKey . "labelSelector")) | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* KubeRay adds the labels that Ray's pods are chosen by. */}}
{{- define "seedsweep.rayMetadata" -}}
metadata:
  labels: {{- toYaml .Values.podLabels | nindent 4 }}
  annotations: {{- toYaml .Values.podAnnotations | nindent 4 }}
{{- end -}}

{{/* What every container has, whatever it does. Takes root and image. */}}
{{- define "seedsweep.container" -}}
image: {{ include "seedsweep.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The environment of all containers. Takes root. */}}
{{- define "seedsweep.env" -}}
{{- $secret := .root.Values.existingSecret -}}
- name: SEEDSWEEP_STORE_URL
  value: {{ .root.Values.store.url | quote }}
{{- if and (hasPrefix "s3:" .root.Values.store.url) (eq .root.Values.store.credentials "secret") }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.keys.s3AccessKey }}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.keys.s3SecretKey }}}
{{- end }}
- name: SEEDSWEEP_CACHE_DIR
  value: /cache/seedsweep
- name: HF_HOME
  value: /cache/huggingface
{{- if not .root.Values.hub }}
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
# The user has no entry in the image, and no folder of its own.
- name: HOME
  value: /tmp
- name: USER
  value: seedsweep
{{- if .root.Values.caBundle.configMap }}
- name: SSL_CERT_FILE
  value: /etc/seedsweep/ca/ca.pem
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes root. */}}
{{- define "seedsweep.brokerEnv" -}}
- name: SEEDSWEEP_BROKER_URL
{{- if .root.Values.broker.url }}
  value: {{ .root.Values.broker.url | quote }}
{{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.existingSecret.name }}
      key: {{ .root.Values.existingSecret.keys.brokerUrl }}
{{- end }}
{{- end -}}

{{/* What Ray's nodes, and who joins them, share. Takes root. */}}
{{- define "seedsweep.rayEnv" -}}
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
{{- if .root.Values.ray.enabled }}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.existingSecret.name }}
      key: {{ .root.Values.existingSecret.keys.rayToken }}
{{- end }}
{{- end -}}

{{/* Where who joins Ray finds it; a Ray client needs no Ray node beside it. Takes root. */}}
{{- define "seedsweep.rayAddress" -}}
{{- if .root.Values.ray.enabled -}}
- name: SEEDSWEEP_RAY_ADDRESS
  value: ray://{{ include "seedsweep.rayName" .root }}-head-svc.{{ .root.Release.Namespace }}.svc:10001
{{- end -}}
{{- end -}}

{{/* Takes root, and ray where Ray runs in the pod. */}}
{{- define "seedsweep.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: cache, mountPath: /cache}
{{- if .ray }}
- {name: shared-memory, mountPath: /dev/shm}
{{- end }}
{{- if .root.Values.caBundle.configMap }}
- {name: ca, mountPath: /etc/seedsweep/ca, readOnly: true}
{{- end }}
{{- if .root.Values.trainingSet.existingClaim }}
- {name: training-set, mountPath: {{ .root.Values.trainingSet.mountPath }}, readOnly: true}
{{- end }}
{{- if hasPrefix "file:" .root.Values.store.url }}
- {name: store, mountPath: {{ trimPrefix "file:" .root.Values.store.url }}}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes root, and ray where Ray runs in the pod. */}}
{{- define "seedsweep.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .root.Values.tmpSizeLimit }}}
- name: cache
  {{- with .root.Values.cache }}
  {{- if .existingClaim }}
  persistentVolumeClaim: {claimName: {{ .existingClaim }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ .sizeLimit }}}
  {{- end }}
  {{- end }}
{{- if .ray }}
- name: shared-memory
  emptyDir: {medium: Memory, sizeLimit: {{ .root.Values.ray.sharedMemory }}}
{{- end }}
{{- with .root.Values.caBundle }}
{{- if .configMap }}
- name: ca
  configMap:
    name: {{ .configMap }}
    items: [{key: {{ .key }}, path: ca.pem}]
{{- end }}
{{- end }}
{{- with .root.Values.trainingSet.existingClaim }}
- name: training-set
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- if hasPrefix "file:" .root.Values.store.url }}
- name: store
  persistentVolumeClaim: {claimName: {{ .root.Values.store.existingClaim }}}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Importing torch from a cold disk takes a while; until then nobody asks for more. */}}
{{- define "seedsweep.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 30
  timeoutSeconds: 5
  failureThreshold: 4
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* Takes port. */}}
{{- define "seedsweep.metricsArgs" -}}
- --metrics-host=0.0.0.0
- --metrics-port={{ .port }}
- --log-format=json
{{- end -}}
