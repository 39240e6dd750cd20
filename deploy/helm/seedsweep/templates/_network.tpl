{{/* Takes root and port. */}}
{{- define "seedsweep.fromMonitoring" -}}
{{- with .root.Values.networkPolicy.monitoringNamespace -}}
- from:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ . }}}
  ports: [{port: {{ $.port }}, protocol: TCP}]
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* Names are looked up on the way to it. */}}
{{- define "seedsweep.toStore" -}}
- to: {{- toYaml .Values.networkPolicy.dnsPeers | nindent 4 }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- if not (hasPrefix "file:" .Values.store.url) }}
- ports: [{port: {{ include "seedsweep.storePort" . }}, protocol: TCP}]
  {{- with .Values.networkPolicy.storePeers }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if eq .Values.store.credentials "serviceAccount" }}
# The cloud's token service, the node's metadata server and EKS's agent.
- ports: [{port: 443, protocol: TCP}]
- to:
    - ipBlock: {cidr: 169.254.169.254/32}
    - ipBlock: {cidr: 169.254.170.23/32}
    - ipBlock: {cidr: fd00:ec2::23/128}
  ports: [{port: 80, protocol: TCP}]
{{- end }}
{{- end -}}

{{- define "seedsweep.toBroker" -}}
- ports: [{port: {{ int .Values.networkPolicy.brokerPort }}, protocol: TCP}]
  {{- with .Values.networkPolicy.brokerPeers }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "seedsweep.toRay" -}}
- to:
    - podSelector:
        matchLabels:
          ray.io/cluster: {{ include "seedsweep.rayName" . }}
          ray.io/node-type: head
  ports: [{port: 10001, protocol: TCP}]
{{- end -}}
