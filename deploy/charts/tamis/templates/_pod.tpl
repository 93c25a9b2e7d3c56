{{/* Pod Security Standards' restricted profile, but for rdma.runAsRoot (see values) */}}
{{- define "tamis.podSecurityContext" -}}
{{- $v := .Values -}}
runAsNonRoot: {{ not $v.rdma.runAsRoot }}
runAsUser: {{ ternary 0 (int $v.podSecurity.runAsUser) $v.rdma.runAsRoot }}
runAsGroup: {{ ternary 0 (int $v.podSecurity.runAsUser) $v.rdma.runAsRoot }}
fsGroup: {{ int $v.podSecurity.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tamis.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- if .Values.rdma.runAsRoot }}
  add: [IPC_LOCK]
{{- end }}
{{- end }}

{{- define "tamis.resources" -}}
{{- $v := .Values -}}
{{- $resources := deepCopy $v.resources -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- if eq $v.device "cuda" -}}
{{- $_ := set $limits $v.gpuResource (int (include "tamis.ranksPerPod" .)) -}}
{{- end -}}
{{- if $v.rdma.enabled -}}
{{- $_ := set $limits $v.rdma.resource (int $v.rdma.count) -}}
{{- end -}}
{{- if $limits -}}{{- $_ := set $resources "limits" $limits -}}{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{- define "tamis.downloadContainer" -}}
{{- $m := .Values.model -}}
- name: download
  image: {{ $m.download.image | quote }}
  command: [sh, -c]
  args:
    - |
      {{- .Files.Get "files/download.sh" | nindent 6 }}
    - download
    - {{ include "tamis.modelPath" . | quote }}
    - {{ $m.name | quote }}
    - {{ $m.revision | quote }}
    {{- range $m.download.include }}
    - {{ . | quote }}
    {{- end }}
  env:
    - {name: HOME, value: /tmp}
    - {name: HF_HOME, value: /tmp/hf}
    {{- if $m.tokenSecret.name }}
    - name: HF_TOKEN
      valueFrom:
        secretKeyRef: {name: {{ $m.tokenSecret.name | quote }}, key: {{ $m.tokenSecret.key | quote }}}
    {{- end }}
  resources: {{- toYaml $m.download.resources | nindent 4 }}
  securityContext: {{- include "tamis.securityContext" . | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: model, mountPath: /models}
{{- end }}

{{/* dict root role: the one pod template of a Deployment's pods, of leaders and of workers */}}
{{- define "tamis.podTemplate" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $worker := eq .role "worker" -}}
metadata:
  labels:
    {{- include "tamis.selectorLabels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ ternary "worker" "leader" $worker }}
    {{- with $v.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "tamis.serveConfig" $root | sha256sum }}
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "tamis.gracePeriod" $root }}
  {{- with $v.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- include "tamis.podSecurityContext" $root | nindent 4 }}
  {{- if eq $v.model.source "hf" }}
  initContainers: {{- include "tamis.downloadContainer" $root | nindent 4 }}
  {{- end }}
  containers:
    - name: tamis
      image: {{ include "tamis.image" $root | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      {{- include "tamis.command" . | nindent 6 }}
      env: {{- include "tamis.env" $root | nindent 8 }}
      ports:
        {{- if not $worker }}
        - {name: grpc, containerPort: {{ $v.server.grpcPort }}}
        - {name: metrics, containerPort: {{ $v.server.metricsPort }}}
        {{- end }}
        {{- if ne .role "single" }}
        - {name: boot, containerPort: {{ $v.multinode.bootPort }}}
        {{- if not $worker }}
        - {name: gate, containerPort: {{ add $v.multinode.bootPort 1 }}}
        {{- end }}
        {{- end }}
      {{- include "tamis.probes" . | nindent 6 }}
      resources: {{- include "tamis.resources" $root | nindent 8 }}
      securityContext: {{- include "tamis.securityContext" $root | nindent 8 }}
      volumeMounts: {{- include "tamis.volumeMounts" $root | nindent 8 }}
  volumes: {{- include "tamis.volumes" $root | nindent 4 }}
{{- end }}
