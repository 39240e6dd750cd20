{{- define "seedsweep.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "seedsweep.release" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "seedsweep.labels" -}}
{{ include "seedsweep.release" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels of a pod: podLabels never hide what it is chosen by. Takes root and own, a dict. */}}
{{- define "seedsweep.podLabels" -}}
{{- toYaml (mergeOverwrite (include "seedsweep.labels" .root | fromYaml) .root.Values.podLabels .own) -}}
{{- end -}}

{{/* What a component's pods are chosen by. Takes root and component. */}}
{{- define "seedsweep.selector" -}}
{{ include "seedsweep.release" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "seedsweep.ports" -}}
scheduler: 9410
analyst: 9420
worker: 9430
{{- end -}}

{{- define "seedsweep.rayName" -}}
{{ include "seedsweep.fullname" . }}-ray
{{- end -}}

{{/* Takes root and image, the overrides of a pool; a digest is never that of another image. */}}
{{- define "seedsweep.image" -}}
{{- $own := default dict .image -}}
{{- $common := ternary (omit .root.Values.image "digest") .root.Values.image (gt (len $own) 0) -}}
{{- $image := mergeOverwrite (deepCopy $common) $own -}}
{{- $tag := default .root.Chart.AppVersion $image.tag -}}
{{- $image.repository }}:{{ $tag }}{{ with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "seedsweep.serviceAccountName" -}}
{{- $made := ternary (include "seedsweep.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $made .Values.serviceAccount.name -}}
{{- end -}}

{{/* A pool with the defaults of all, as JSON. Takes defaults and pool. */}}
{{- define "seedsweep.pool" -}}
{{- $pool := deepCopy .defaults -}}
{{- range $key, $value := default dict .pool -}}
{{- if eq $key "autoscaling" -}}
{{- range $inner, $wanted := $value }}{{ $_ := set $pool.autoscaling $inner $wanted }}{{ end -}}
{{- else -}}
{{- $_ := set $pool $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $pool -}}
{{- end -}}

{{/* Takes resources, gpus and gpuResource. */}}
{{- define "seedsweep.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- if .gpus -}}
{{- $limits := merge (dict .gpuResource (int .gpus)) (default dict $resources.limits) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* The port of the store that store.url names. */}}
{{- define "seedsweep.storePort" -}}
{{- $endpoint := regexFind "endpoint=[^&]+" .Values.store.url | trimPrefix "endpoint=" | default "https://aws" -}}
{{- $port := regexFind ":[0-9]+/?$" $endpoint | trimPrefix ":" | trimSuffix "/" -}}
{{- default (ternary "80" "443" (hasPrefix "http:" $endpoint)) $port -}}
{{- end -}}

{{/* What its metrics call this deployment: no other one of the cluster has the name. */}}
{{- define "seedsweep.deployment" -}}
{{- default (printf "%s/%s" .Release.Namespace (include "seedsweep.fullname" .)) .Values.monitoring.deployment -}}
{{- end -}}
